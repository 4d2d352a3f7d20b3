"""A fake Kantata OX: the envelope, paging, filters, external references, locks, the change feed; errors as the real one."""

from connectors.sandbox.kantata.system import Kantata

__all__ = ["Kantata"]
