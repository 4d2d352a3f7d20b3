"""`webhooks:` of a manifest: how calls of the system are verified, and what they tell.

Expressions are JMESPath over `{headers, body, query, event}`: names of headers in lower case, and one of `events`.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BeforeValidator, model_validator

from engine.sdk.config import Config, Duration
from engine.sdk.manifest_requests import Expression

Kind = Literal[
    "hmac_sha256", "standard_webhooks", "hubspot_v3", "token", "basic", "rsa_sha256", "body_token", "outbound_message", "none"
]  # fmt: skip
_PIECES = re.compile(r"\{(\w+)\}")
PIECES = ("body", "timestamp", "id", "method", "url")


def _list(value: object) -> object:
    return value if isinstance(value, list) else [value]


class Stamp(Config):
    """Where a call says when it was made."""

    header: str | None = None
    part: str | None = None
    """Part of the signature's header, as `t` in `t=1767225600,v1=…`."""
    form: Literal["seconds", "ms", "instant", "any"] = "seconds"
    """Since 1970, or RFC 3339; `any` takes seconds and instants."""


class Verify(Config):
    """How a call proves where it comes from. A call that cannot prove it is refused."""

    kind: Kind
    header: str | None = None
    """Header with the signature or token."""
    query: str | None = None
    """`token`: the parameter of the address that holds it, where it is no header."""
    secret: Annotated[list[str], BeforeValidator(_list)] = []
    """Setting of the connection that holds the secret; several for a change of secrets, each of which counts."""
    user: str | None = None
    """`basic`: the setting that holds the user's name."""
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""
    """Text before the signature or token, such as `sha256=` or `Bearer `."""
    part: str | None = None
    """Part of the header that holds the signature, as `v1` in `t=1767225600,v1=…`."""
    signed: str = "{body}"
    """What the signature is over, of {body} {timestamp} {id} {method} {url}."""
    timestamp: Stamp | None = None
    id: str | None = None
    """Header that holds the call's id, where it is signed."""
    url: str | None = None
    """Setting of the connection with the public address of this receiver, where the address is signed."""
    value: Expression | None = None
    """`body_token`: where the body holds the token; every one that it finds has to be right."""
    tolerance: Duration = timedelta(minutes=5)
    """How old, or how far ahead, a call's timestamp may be."""

    @model_validator(mode="after")
    def _whole(self) -> Verify:
        if self.kind != "none" and not self.secret:
            raise ValueError(f"has the kind `{self.kind}` without `secret`: name the setting that holds it")
        if self.kind in ("hmac_sha256", "rsa_sha256") and not self.header:
            raise ValueError(f"has the kind `{self.kind}` without `header`: name the header with the signature")
        if self.kind == "token" and (self.header is None) == (self.query is None):
            raise ValueError("has the kind `token`: name one of `header` and `query`")
        if self.kind == "basic" and self.user is None:
            raise ValueError("has the kind `basic` without `user`: name the setting that holds it")
        if self.kind == "body_token" and self.value is None:
            raise ValueError("has the kind `body_token` without `value`: say where the body holds it")
        if self.kind == "hubspot_v3" and self.url is None:
            raise ValueError("has the kind `hubspot_v3` without `url`: name the setting with the public address")
        pieces = _PIECES.findall(self.signed)
        strange = next((one for one in pieces if one not in PIECES), None)
        if strange is not None:
            raise ValueError(f"signs {strange!r}: write some of {', '.join(PIECES)}")
        if self.kind == "hmac_sha256":
            if "body" not in pieces:
                raise ValueError("signs no {body}: anybody could change it")
            if (self.timestamp is not None) != ("timestamp" in pieces):
                raise ValueError("has `timestamp` and `signed` apart: a timestamp counts only where it is signed")
            for piece, setting in (("id", self.id), ("url", self.url)):
                if piece in pieces and setting is None:
                    raise ValueError(f"signs {{{piece}}} without `{piece}`: say where it is")
        return self


class Handshake(Config):
    """A call that only asks whether we are there; it is answered and tells nothing."""

    kind: Literal["echo_query", "origin"]
    """`echo_query`: answer with what the parameter holds. `origin`: CloudEvents' `WebHook-Request-Origin`."""
    param: str | None = None

    @model_validator(mode="after")
    def _param(self) -> Handshake:
        if (self.kind == "echo_query") != (self.param is not None):
            raise ValueError("has `param` for the kind `echo_query` only: name the parameter that is echoed")
        return self


class Choice(Config):
    """An object by what the event says."""

    from_: Expression
    values: dict[str, str] | None = None
    """What it says → the object; what it says is the object where they are left out."""

    model_config = Config.model_config | {"alias_generator": lambda name: name.rstrip("_")}


class Webhooks(Config):
    """Calls that the system makes to us. A call is a hint: its record is read again, unless it is `complete`."""

    verify: Verify
    unsigned: Literal["refuse", "allow"] = "refuse"
    """`allow`: calls that prove nothing are taken (kind `none`); whoever knows the address can send some."""
    format: Literal["json", "form"] = "json"
    handshake: Handshake | None = None
    events: Expression | None = None
    """The list of events in a call; the body is one event where it is left out."""
    event_id: Expression | None = None
    """What the system calls the event; the same whenever it is told."""
    key: Expression | None = None
    """Native id of the record."""
    object: str | Choice | None = None
    """Object of the record, or where the event says it."""
    deleted: Expression | None = None
    """True where the record is gone."""
    at: Expression | None = None
    """When it happened."""
    at_form: Literal["instant", "epoch", "epoch_ms"] = "instant"
    complete: bool = False
    """The event holds the whole record with its version: it is not read again. Needs `record` and `at`."""
    record: Expression | None = None

    @model_validator(mode="after")
    def _whole(self) -> Webhooks:
        if self.verify.kind == "none" and self.unsigned != "allow":
            raise ValueError("verifies nothing: name a kind, or write `unsigned: allow`")
        if self.complete and (self.record is None or self.at is None):
            raise ValueError("has `complete` without `record` and `at`: events without a version are read again")
        return self
