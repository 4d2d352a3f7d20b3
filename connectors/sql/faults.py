"""The database's errors as ours: who can do something about them, without parameters, passwords or stack traces."""

from __future__ import annotations

import re
from typing import Any, Literal

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, OperationalError

from engine.sdk.errors import Problem, Trouble

Kind = Literal["row", "transient", "whole"]
"""row: this row was refused. transient: later may help. whole: no row would be taken."""

_PG: list[tuple[str, Trouble]] = [
    ("28", "auth"), ("42501", "auth"), ("3D", "config"), ("08", "unreachable"), ("57P", "unreachable"), ("57", "timeout"),
    ("55P03", "timeout"), ("40", "timeout"), ("53", "server"), ("58", "server"), ("XX", "server"), ("25006", "auth"),
]  # fmt: skip
_MYSQL: dict[int, Trouble] = {
    1044: "auth", 1045: "auth", 1142: "auth", 1143: "auth", 1227: "auth", 1698: "auth", 1049: "config",
    1040: "server", 1203: "server", 1205: "timeout", 1213: "timeout", 1969: "timeout", 3024: "timeout",
    1290: "auth", 2002: "unreachable", 2003: "unreachable", 2005: "unreachable", 2006: "unreachable",
    2013: "unreachable", 1021: "server", 1053: "unreachable", 1927: "unreachable",
}  # fmt: skip
_WORDS: list[tuple[str, Trouble]] = [
    ("password authentication failed|no password supplied|access denied|role .* does not exist|permission denied|"
     "readonly database", "auth"),
    ("database .* does not exist", "config"),
    ("locked|busy|deadlock|timed? ?out|timeout expired", "timeout"),
    ("disk is full|disk i/o|malformed|no space", "server"),
]  # fmt: skip
HINTS: dict[Trouble, str] = {
    "auth": "see user, password and rights of the connection",
    "config": "correct the connection's `url`",
    "timeout": "see what holds the table, or raise `timeout`",
    "server": "see the database's own log",
    "unreachable": "see that the database runs and the URL is right",
    "refused": "see the database's own message",
}


def trouble_of(error: DBAPIError) -> Trouble:
    """What kind of fault a database error is."""
    orig: Any = error.orig
    given: tuple[Any, ...] = getattr(orig, "args", ())
    number = given[0] if given else None
    if isinstance(number, int):
        return _MYSQL.get(number, "refused")
    state = getattr(orig, "sqlstate", None)
    if state:
        return next((trouble for start, trouble in _PG if str(state).startswith(start)), "refused")
    text = str(orig).lower()
    for words, trouble in _WORDS:
        if re.search(words, text):
            return trouble
    lost = error.connection_invalidated or isinstance(error, InterfaceError)
    refused = "no such" in text or "has no column" in text or "syntax" in text
    return "unreachable" if lost or (isinstance(error, OperationalError) and not refused) else "refused"


def kind_of(error: DBAPIError) -> Kind:
    """What a failed write means for its rows."""
    trouble = trouble_of(error)
    if trouble in ("timeout", "unreachable", "server"):
        return "transient"
    if trouble in ("auth", "config"):
        return "whole"
    state = str(getattr(error.orig, "sqlstate", None) or "")
    row = isinstance(error, (IntegrityError, DataError)) or state[:2] in ("21", "22", "23", "44", "P0")
    return "row" if row or not state or state[:2] != "42" else "whole"


def reason(error: DBAPIError) -> str:
    """The database's own first line, with the column or constraint that it names."""
    orig: Any = error.orig
    diag = getattr(orig, "diag", None)
    text = getattr(diag, "message_primary", None)
    if text is None:
        args: tuple[Any, ...] = getattr(orig, "args", ())
        text = str(args[1]) if len(args) > 1 and isinstance(args[0], int) else str(orig or "no reason given")
    text = (text.strip().splitlines() or ["no reason given"])[0]
    detail = getattr(diag, "message_detail", None)
    return f"{text} ({detail})" if detail else text


def column_of(error: DBAPIError) -> str | None:
    """The column that a refused row is about, where the database says it."""
    named = getattr(getattr(error.orig, "diag", None), "column_name", None)
    if named:
        return str(named)
    found = re.search(
        r"constraint failed: \w+\.(\w+)|[Cc]olumn '([^']+)'|[Ff]ield '([^']+)'|Key \(([^)]+)\)", reason(error)
    )
    return next((group for group in found.groups() if group), None) if found else None


def problem_of(error: DBAPIError, connection: str) -> Problem:
    """The problem of a call that failed as a whole."""
    trouble = trouble_of(error)
    code = "C593" if trouble == "refused" else "C592"
    return Problem(code, f"connection {connection!r}: {reason(error)}", None, HINTS.get(trouble, ""))


def row_problem(error: DBAPIError) -> Problem:
    """The problem of one refused row."""
    column, text = column_of(error), reason(error)
    shown = text if column is None or column in text else f"{column}: {text}"
    return Problem("C598", shown, None, "correct the record, then replay it")
