"""Calls that systems make to us: what a connector is shown of one, and all that it may answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from engine.sdk.errors import Problem
from engine.sdk.record import Fields


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """One call as it came. headers: names in lower case. body: the raw bytes that a signature is over."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    received: datetime
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """One thing that a call tells.

    id: the system's own id of the event, the same each time it is told (None: the digest of body and timestamp counts).
    object, key: the record that it is about; the key is None where the call does not say. at: when it happened.
    record: the record itself, only where the manifest says that events are complete and versioned; else it is re-read.
    type: a CloudEvents type, where the call carries one; body is then that event in its structured form.
    """

    id: str | None = None
    object: str | None = None
    key: str | None = None
    deleted: bool = False
    at: str | None = None
    record: Fields | None = None
    type: str | None = None
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class WebhookAnswer:
    """What a call is taken for. accepted: verified, with its events; handshake: answer `status` and `body`, nothing
    else happens; refused: the problem says why (the caller is told the status only)."""

    state: Literal["accepted", "handshake", "refused"]
    events: tuple[WebhookEvent, ...] = ()
    status: int = 202
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    problem: Problem | None = None
