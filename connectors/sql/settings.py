"""Settings of a `sql` connection, and the engine that they open."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

from pydantic import Field
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

from engine.sdk.config import Config, ConnectionConfig, ConnectionContext, SecretText
from engine.sdk.errors import ConnectorError, Problem
from engine.sdk.record import decode_json

DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg",
           "mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql"}  # fmt: skip


class SqlObject(Config):
    """One object: a table, or a query that can be read."""

    table: str | None = None
    """Table, `schema.table`; the object's name otherwise."""
    query: str | None = None
    """SELECT that makes the rows; read-only."""
    key: str | list[str] | None = None
    """Field or fields that identify a row; the primary key otherwise."""
    modified: str | None = None
    """Column that grows with every change: instant, day or counter."""
    marker: str | None = None
    """Column that keeps Crosswalk's mark."""


class SqlConfig(ConnectionConfig):
    """A database."""

    url: str = Field(repr=False)
    """SQLAlchemy URL; a secret in it is written ${secret:name}."""
    password: SecretText | None = None
    """Password, kept out of the URL."""
    default_schema: str | None = Field(None, alias="schema")
    """Schema of tables that name none; the database's own default otherwise."""
    objects: dict[str, SqlObject] = {}  # type: ignore[assignment]
    """Settings of single objects."""


def wrong(code: str, message: str, hint: str) -> ConnectorError:
    """A fault of the connection's settings."""
    return ConnectorError("config", Problem(code, message, None, hint))


def open_engine(config: SqlConfig, context: ConnectionContext) -> Engine:
    """The pool of connections. Raises ConnectorError C590, C591, C592."""
    url = _url(config, context)
    name = url.get_backend_name()
    exact: dict[str, Any] = {"json_deserializer": decode_json} if name == "postgresql" else {}
    try:
        engine = create_engine(
            url,
            hide_parameters=True,
            pool_pre_ping=name != "sqlite",
            connect_args=_arguments(name, config.timeout.total_seconds()),
            **exact,
        )
    except (ModuleNotFoundError, NoSuchModuleError):
        extra = {"postgresql": "postgres", "mysql": "mariadb", "mariadb": "mariadb"}.get(name)
        hint = f"run: pip install 'crosswalk[{extra}]'" if extra else f"install the SQLAlchemy driver of {name}"
        raise wrong("C591", "no driver for that database is installed", hint) from None
    except (SQLAlchemyError, ValueError, TypeError):
        raise wrong("C590", "`url` is not a database URL", _FORMS) from None
    start = _start(name, config.timeout.total_seconds())
    if start:
        event.listen(engine, "connect", lambda connection, _: _prepare(connection, start))
    return engine


_FORMS = "write sqlite:///file.db, postgresql://host/name or mariadb://host/name"


def _url(config: SqlConfig, context: ConnectionContext) -> URL:
    try:
        url = make_url(config.url)
    except (SQLAlchemyError, ValueError):
        raise wrong("C590", "`url` is not a database URL", _FORMS) from None
    if url.drivername in DRIVERS:
        url = url.set(drivername=DRIVERS[url.drivername])
    if config.password is not None:
        url = url.set(password=config.password.reveal())
    database = url.database
    if url.get_backend_name() == "sqlite" and database not in (None, "", ":memory:"):
        path: Path = context.path(str(database))
        if not path.is_file() and not str(database).startswith("file:"):
            raise ConnectorError("unreachable", Problem(
                "C592", f"connection {context.name!r}: there is no database {database}", None,
                "create it with its tables, or correct the path"))  # fmt: skip
        url = url.set(database=str(path))
    return url


def _arguments(name: str, seconds: float) -> dict[str, Any]:
    whole = max(1, round(seconds))
    if name == "sqlite":
        return {"timeout": seconds}
    if name == "postgresql":
        return {"connect_timeout": max(2, whole)}
    if name in ("mysql", "mariadb"):
        return {"connect_timeout": whole, "read_timeout": whole, "write_timeout": whole, "charset": "utf8mb4"}
    return {}


def _start(name: str, seconds: float) -> list[str]:
    """What a new connection is told first: wait no longer than that, cut nothing off silently, count in UTC."""
    limit = max(1, int(seconds * 1000))
    if name == "sqlite":
        return ["PRAGMA journal_mode=WAL"]
    if name == "postgresql":
        return [f"SET statement_timeout = {limit}", f"SET lock_timeout = {limit}", "SET TIME ZONE 'UTC'"]
    if name in ("mysql", "mariadb"):
        wait = max(1, round(seconds / 2))
        return ["SET time_zone = '+00:00'", "SET sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')",
                f"SET innodb_lock_wait_timeout = {wait}"]  # fmt: skip
    return []


def _prepare(connection: Any, statements: list[str]) -> None:
    cursor = connection.cursor()
    try:
        for statement in statements:
            with contextlib.suppress(sqlite3.OperationalError):  # a read-only file keeps its journal mode
                cursor.execute(statement)
    finally:
        cursor.close()
    connection.commit()
