"""What goes wrong, in one shape: a problem has a code, a place, what is wrong and what to write instead.

The same object becomes the line on the terminal, the JSON error, the log entry and the row of an exception.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal, get_args


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a document: path relative to the workspace with forward slashes, 1-based line and column."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    def right(self, columns: int) -> Position:
        """The place `columns` further right on the same line."""
        return Position(self.file, self.line, self.column + columns)


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault. `code` never changes meaning; `hint` says what to write or do instead."""

    code: str
    message: str
    at: Position | None = None
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.at} " if self.at else ""
        hint = f" — {self.hint}" if self.hint else ""
        return f"{self.code} {place}{self.message}{hint}"

    def as_json(self) -> dict[str, Any]:
        """The `errors` item of the JSON contract."""
        at = self.at
        return {
            "code": self.code,
            "file": at.file if at else None,
            "line": at.line if at else None,
            "column": at.column if at else None,
            "message": self.message,
            "hint": self.hint,
        }


class CrosswalkError(Exception):
    """Base of every error that a user may see. Carries one or more problems, never a stack trace."""

    exit_code = 1

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    @property
    def problem(self) -> Problem:
        """The first problem; most errors have exactly one."""
        return self.problems[0]


class SpecError(CrosswalkError):
    """A document is wrong; only its author can mend it. Raised before a run starts, never retried."""

    exit_code = 2


class UsageError(CrosswalkError):
    """The command was called in a way that cannot be meant."""

    exit_code = 2


class RecordFault(CrosswalkError):
    """One record cannot go on. It is quarantined with this problem; the others go on."""


Trouble = Literal[
    "auth",  # credentials refused: only the operator can mend it
    "unreachable",  # no connection, DNS, TLS
    "timeout",
    "rate_limited",
    "server",  # 5xx and the like
    "refused",  # the request was understood and refused
    "bad_response",  # not what the manifest says: not JSON, wrong type, too large
    "cursor_lost",  # the source no longer knows the position
    "truncated",  # the source cut the result off
    "config",  # the connection's settings are wrong
]
ExceptionClass = Literal[
    "connection",  # the target cannot be reached, or refuses the credentials
    "intermittent",  # the target failed in a way that passes: a timeout, a 5xx
    "rate_limit",  # the target takes no more for now
    "parse",  # the source's record cannot be read
    "mapping",  # a rule cannot give its value
    "validation",  # the record does not fit its schema or lifecycle
    "check",  # a business rule does not hold
    "missing_reference",  # it names a record that is not known (yet)
    "ambiguous_match",  # several records may be the same as it
    "conflict",  # two sides or two records disagree
    "rejected",  # the target refused the record
    "too_large",  # the record or its payload is over the limit
    "in_doubt",  # whether the target has it is not known
    "internal",  # a fault of crosswalk, or of the workspace's own functions
]
"""Why a record is an exception, by who can do what about it."""
EXCEPTION_CLASSES: tuple[str, ...] = get_args(ExceptionClass)
NOT_TAKEN: dict[Trouble, ExceptionClass] = {
    "unreachable": "connection",
    "auth": "connection",
    "config": "connection",
    "rate_limited": "rate_limit",
}
"""The class of a record that a system did not take for a reason of its own; others are `intermittent`."""
TRANSIENT: frozenset[str] = frozenset({"unreachable", "timeout", "rate_limited", "server"})


class ConnectorError(CrosswalkError):
    """A system could not be read or written as a whole. `trouble` says who can do something about it."""

    def __init__(self, trouble: Trouble, problem: Problem, *, wait: float | None = None) -> None:
        super().__init__(problem)
        self.trouble = trouble
        self.wait = wait
        """Seconds that the system asked us to wait (Retry-After), if it did."""

    @property
    def transient(self) -> bool:
        """True where trying again later may help."""
        return self.trouble in TRANSIENT


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint: the nearest known name, else the list of names."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"known: {shown or 'none'}"


def unknown_name(kind: str, name: str, known: Iterable[str], at: Position | None) -> Problem:
    """The problem for a name that refers to nothing."""
    return Problem("E101", f"there is no {kind} called {name!r}", at, nearest(name, known))


@dataclass(slots=True)
class Problems:
    """Collects faults, so that all of them are reported at once."""

    found: list[Problem] = field(default_factory=list)

    def add(self, code: str, message: str, at: Position | None, hint: str = "") -> None:
        self.found.append(Problem(code, message, at, hint))

    def extend(self, problems: Iterable[Problem]) -> None:
        self.found.extend(problems)

    def tried(self, make: Callable[..., Any]) -> Any:
        """What `make` gives; where it raises a SpecError, None, and its problems are among those found: whoever goes on
        past `raise_any` has the value."""
        try:
            return make()
        except SpecError as error:
            self.extend(error.problems)
            return None

    def raise_any(self, kind: type[CrosswalkError] = SpecError) -> None:
        """Raise all problems found as one error; nothing where there is none."""
        if self.found:
            raise kind(in_order(self.found))


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Each problem once, by file, line and column."""
    return sorted(set(problems), key=_order)


def _order(problem: Problem) -> tuple[Any, ...]:
    at = problem.at or Position("")
    return (at.file, at.line, at.column, problem.code, problem.message)


def as_json(error: CrosswalkError) -> Mapping[str, Any]:
    """The `errors` object of the JSON contract."""
    return {"errors": [problem.as_json() for problem in error.problems]}
