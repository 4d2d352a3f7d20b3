"""What all carriers of events share: they hold no objects, and say of every event what became of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NoReturn, TypeVar

from engine.sdk.cloudevents import CloudEvent
from engine.sdk.config import ConnectionConfig
from engine.sdk.connector import Batch, Connector, ObjectInfo, Operation, Outcome, Read
from engine.sdk.errors import ConnectorError, Problem, Trouble
from engine.sdk.record import Fields, Record

C = TypeVar("C", bound=ConnectionConfig)
_STRANGE = re.compile(r"[^A-Za-z0-9_.\-]")


class Carrier(Connector[C]):
    """A connection for events only."""

    def objects(self) -> list[str]:
        return []

    def describe(self, name: str) -> ObjectInfo:
        raise ConnectorError(
            "config", Problem("C504", f"connection {self.context.name!r} has no objects, {name!r} neither", None,
                              "it carries events: name it under `events` of crosswalk.yaml, or in a `publish` step"),
        )  # fmt: skip

    def read(self, request: Read) -> Iterator[Batch]:
        self.describe(request.object)
        yield Batch([])

    def find(self, name: str, by: Sequence[Fields], fields: tuple[str, ...] = ()) -> list[list[Record]]:
        self.describe(name)
        return []

    def write(self, name: str, operations: Sequence[Operation]) -> list[Outcome]:
        self.describe(name)
        return []

    # ------------------------------------------------------------------ what carriers say
    def driver_missing(self, package: str, extra: str) -> NoReturn:
        raise ConnectorError("config", Problem("C554", f"connection {self.context.name!r}: {package} is not installed", None,
                                               f"run: pip install 'crosswalk[{extra}]'"))  # fmt: skip

    def unreachable(self, why: str, trouble: Trouble = "unreachable") -> ConnectorError:
        hint = {
            "auth": "see the user and the password",
            "config": "see `url`",
        }.get(trouble, "see that the broker runs and `url` is right; events wait meanwhile")
        return ConnectorError(
            trouble, Problem("C555", f"connection {self.context.name!r}: the broker takes nothing: {why}", None, hint)
        )

    def kept_back(self, event: CloudEvent, error: ConnectorError) -> Outcome:
        """The destination as a whole takes nothing."""
        return Outcome(event.id, "retry", problem=error.problem, wait=error.wait, trouble=error.trouble)

    def not_taken(self, event: CloudEvent, why: str, hint: str, *, definite: bool) -> Outcome:
        """This event is not taken: for good, or for now."""
        problem = Problem("C556", f"connection {self.context.name!r}: {event.type} was not taken: {why}", None, hint)
        return Outcome(event.id, "refused" if definite else "retry", problem=problem)


def topic_of(type: str) -> str:
    """An event's type as brokers take it in a subject or routing key."""
    return _STRANGE.sub("_", type)


def first_line(error: BaseException) -> str:
    """What a driver's error says, on one line."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
