"""JSON in the bodies of HTTP messages."""

from __future__ import annotations

from engine.sdk.record import JSON, decode_json, encode_json


def json_of(kind: str, data: bytes) -> JSON:
    """A JSON body. Raises ValueError: not JSON, with what it is instead."""
    if "json" not in kind and data.lstrip()[:1] not in (b"{", b"["):
        raise ValueError(f"{kind.split(';')[0].strip()[:60] or 'of no type'}, not JSON")
    charset = kind.partition("charset=")[2].split(";")[0].strip(" \"'") or "utf-8"
    if charset not in ("utf-8", "utf8"):
        try:
            data = data.decode(charset).encode()
        except (LookupError, UnicodeError):
            raise ValueError(f"not in the charset that it names, {charset[:40]!r}") from None
    try:
        return decode_json(data.removeprefix(b"\xef\xbb\xbf"))
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None


def json_body(value: JSON) -> bytes:
    """A request's body."""
    return encode_json(value)
