"""CloudEvents 1.0 over HTTP and queues: structured and binary, both ways; what arrives is taken apart strictly.

Source: cloudevents/spec 1.0.2, HTTP protocol binding and JSON event format.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from engine.sdk.errors import ConnectorError, Problem
from engine.sdk.record import JSON, encode_json
from engine.sdk.strict import strict_json

STRUCTURED = "application/cloudevents+json; charset=utf-8"
MAX_BODY = 2**20
MAX_BATCH = 1000
_NAME = re.compile(r"[a-z0-9]{1,64}\Z")
_KNOWN = ("id", "source", "specversion", "type", "subject", "time", "datacontenttype", "dataschema")
_PRINTED = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
"""What a header may hold as it is; everything else goes percent-encoded."""
_HINT = "send CloudEvents 1.0, structured or binary, with id, source and type"


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """One event. id and source together tell it from all others. time: RFC 3339. data: JSON, or bytes of another type.

    extensions: further attributes, such as `correlationid` and `sequence`; text, integers or booleans.
    """

    id: str
    source: str
    type: str
    subject: str | None = None
    time: str | None = None
    data: JSON = None
    extensions: Mapping[str, str | int | bool] = field(default_factory=dict)
    datacontenttype: str | None = "application/json"

    @property
    def identity(self) -> str:
        """What tells it from every other event, in at most 200 characters."""
        whole = f"{self.source} {self.id}"
        return whole if len(whole) <= 200 else hashlib.sha256(whole.encode()).hexdigest()

    @property
    def correlation(self) -> str | None:
        """The extension `correlationid`, where it has one."""
        given = self.extensions.get("correlationid")
        return str(given) if given is not None else None


def structured(event: CloudEvent) -> bytes:
    """The event as one JSON object; send it with the content type `STRUCTURED`."""
    told = {**_attributes(event), **event.extensions}
    if isinstance(event.data, bytes):
        told["data_base64"] = base64.b64encode(event.data).decode()
    elif event.data is not None:
        told["data"] = event.data
    return encode_json(told)


def binary(event: CloudEvent) -> tuple[dict[str, str], bytes]:
    """The event as headers and its bare data."""
    told = {**_attributes(event), **event.extensions}
    content = told.pop("datacontenttype", None)
    headers = {f"ce-{name}": quote(_text(value), safe=_PRINTED) for name, value in told.items()}
    if content is not None:
        headers["content-type"] = str(content)
    data = event.data
    return headers, data if isinstance(data, bytes) else b"" if data is None else encode_json(data)


def _attributes(event: CloudEvent) -> dict[str, Any]:
    given = {"specversion": "1.0", "id": event.id, "source": event.source, "type": event.type, "subject": event.subject,
             "time": event.time, "datacontenttype": event.datacontenttype}  # fmt: skip
    return {name: value for name, value in given.items() if value is not None}


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def parse(headers: Mapping[str, str], body: bytes) -> list[CloudEvent]:
    """What a call or a message tells: one event, or those of a batch. headers: names in lower case.

    Raises:
        ConnectorError: C551 it is no CloudEvent or breaks the rules, C552 it is larger than is allowed.
    """
    if len(body) > MAX_BODY:
        raise _refused("C552", f"an event of {len(body):,} bytes", f"send at most {MAX_BODY:,} bytes, or a reference")
    kind = headers.get("content-type", "").strip().lower()
    if kind.startswith("application/cloudevents-batch"):
        found = _json(body)
        if not isinstance(found, list) or len(found) > MAX_BATCH:
            raise _refused("C551", f"a batch is a list of at most {MAX_BATCH} events", _HINT)
        return [_from_json(one) for one in found]
    if kind.startswith("application/cloudevents"):
        if not kind.startswith("application/cloudevents+json"):
            raise _refused("C551", f"events as {kind.split(';')[0]} are not taken", "send application/cloudevents+json")
        return [_from_json(_json(body))]
    if "ce-specversion" in headers:
        return [_from_headers(headers, body)]
    raise _refused("C551", "it is no CloudEvent", _HINT)


def _refused(code: str, message: str, hint: str) -> ConnectorError:
    return ConnectorError("bad_response", Problem(code, message, None, hint))


def _json(body: bytes) -> JSON:
    try:
        return strict_json(body)
    except ValueError as error:
        raise _refused("C551", f"its body is no JSON: {error}", "send valid JSON in UTF-8") from None


def _from_json(given: JSON) -> CloudEvent:
    if not isinstance(given, dict):
        raise _refused("C551", "an event is a JSON object", _HINT)
    told = {name: value for name, value in given.items() if value is not None}
    data, packed = told.pop("data", None), told.pop("data_base64", None)
    if packed is not None:
        if data is not None or not isinstance(packed, str):
            raise _refused("C551", "an event has `data` or `data_base64`, not both", _HINT)
        try:
            data = base64.b64decode(packed, validate=True)
        except binascii.Error:
            raise _refused("C551", "`data_base64` is no base64", _HINT) from None
    return _event(told, data)


def _from_headers(headers: Mapping[str, str], body: bytes) -> CloudEvent:
    told: dict[str, JSON] = {
        name[3:]: _unquoted(name, value) for name, value in headers.items() if name.startswith("ce-")
    }
    if "datacontenttype" in told:
        raise _refused("C551", "`ce-datacontenttype` is not allowed: that is the content type", _HINT)
    content = headers.get("content-type")
    if content is not None:
        told["datacontenttype"] = content
    data: JSON = body or None
    if body and (content is None or _is_json(content)):
        data = _json(body)
    return _event(told, data)


def _is_json(content: str) -> bool:
    media = content.split(";")[0].strip().lower()
    return media.endswith("+json") or media in ("application/json", "text/json")


def _unquoted(name: str, value: str) -> str:
    text = value.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = re.sub(r"\\(.)", r"\1", text[1:-1])
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise _refused("C551", f"the header {name} is no UTF-8", _HINT) from None


def _event(told: dict[str, JSON], data: JSON) -> CloudEvent:
    if told.get("specversion") != "1.0":
        raise _refused("C551", f"its specversion is {str(told.get('specversion'))[:20]!r}, not '1.0'", _HINT)
    for name in ("id", "source", "type"):
        if not isinstance(told.get(name), str) or not told[name]:
            raise _refused("C551", f"it has no `{name}`", _HINT)
    for name, value in told.items():
        if not _NAME.match(name) or name == "data":
            raise _refused("C551", f"{name[:40]!r} is no name of an attribute", "use lower-case letters and digits")
        if not isinstance(value, (str, int, bool)) or (name in _KNOWN and not isinstance(value, str)):
            raise _refused("C551", f"the attribute `{name}` is no text", _HINT)
        if isinstance(value, str) and (len(value) > 2048 or not value.isprintable()):
            raise _refused("C551", f"the attribute `{name}` is too long, or not printable", _HINT)
    time = told.get("time")
    if time is not None and not _instant(time):
        raise _refused("C551", "`time` is no instant with an offset", "write RFC 3339, such as 2026-01-31T09:00:00Z")
    extensions = {name: value for name, value in told.items() if name not in _KNOWN}
    return CloudEvent(told["id"], told["source"], told["type"], told.get("subject"), time, data, extensions,
                      told.get("datacontenttype"))  # fmt: skip


def _instant(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
