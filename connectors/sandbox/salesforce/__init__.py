"""A fake Salesforce: OAuth, SOQL, rows, external ids, collections, composite, feeds, Bulk 2.0, describe; errors as the real one."""

from connectors.sandbox.salesforce.system import Salesforce

__all__ = ["Salesforce"]
