"""Files as a system: CSV, JSON, NDJSON and XLSX in one folder."""

from connectors.files.connector import FilesConnector

__all__ = ["FilesConnector"]
