"""Types of events: `<entity>.<what>.v<major>`. Whoever listens may leave the version out, and write `*` for any text.

Every type that the engine itself tells of comes from this table; so does the manual's.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import NamedTuple

_VERSION = re.compile(r"\.v[0-9]+$")


class EventType(NamedTuple):
    """A kind of event. type: as the manual shows it; what: the word after the entity; when: it is told."""

    type: str
    what: str
    when: str


CREATED = EventType("<entity>.created.v<major>", "created", "a canonical record was made")
UPDATED = EventType("<entity>.updated.v<major>", "updated", "a canonical record was changed")
DELETED = EventType("<entity>.deleted.v<major>", "deleted", "a canonical record was deleted")
REACHED = EventType(
    "<entity>.<status>.v<major>", "", "a field with `x-transitions` came to this state, such as `project.won`"
)
DELIVERED = EventType("<emit>.v<major>", "", "a target has confirmed the record: what its `emit` says")
PUBLISHED = EventType("<publish>.v<major>", "", "a process came to a `publish` step: what the step is called")
OPENED = EventType("alert.opened.v1", "opened", "an expectation of a flow or a limit of an indicator is missed")
CLOSED = EventType("alert.closed.v1", "closed", "it is met again")
TYPES = (CREATED, UPDATED, DELETED, REACHED, DELIVERED, PUBLISHED, OPENED, CLOSED)
"""Every kind of event that the engine tells of. Majors are those of the entity's schema."""


def plain_type(type: str) -> str:
    """An event's type without its major version: `project.created.v1` is `project.created`."""
    return _VERSION.sub("", type)


def fits(pattern: str, type: str) -> bool:
    """Whether an event's type is one that is asked for: in full, without its version, or by a `*`."""
    return fnmatchcase(type, pattern) or fnmatchcase(plain_type(type), pattern)


def versioned(type: str, version: str | int) -> str:
    """An event type with the major version of its schema, where it has none yet."""
    return type if _VERSION.search(type) else f"{type}.v{str(version).split('.', 1)[0]}"
