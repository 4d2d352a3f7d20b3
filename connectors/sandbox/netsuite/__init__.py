"""A fake NetSuite: REST records, SuiteQL, OAuth really verified, asynchronous jobs and batches; errors as the real one."""

from connectors.sandbox.netsuite.system import NetSuite

__all__ = ["NetSuite"]
