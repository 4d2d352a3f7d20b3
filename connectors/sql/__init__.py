"""Any SQLAlchemy database as a system: SQLite, PostgreSQL, MariaDB and others."""

from connectors.sql.connector import SqlConnector

__all__ = ["SqlConnector"]
