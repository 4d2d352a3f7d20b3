"""The declarative HTTP runtime: REST systems as manifests."""

from connectors.rest.connector import RestConnector

__all__ = ["RestConnector"]
