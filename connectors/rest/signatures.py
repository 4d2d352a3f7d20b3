"""Signatures of webhooks. Each check says why a call is refused, or None; secrets are compared in constant time.

Encoded signatures are compared as text: another spelling of the same bytes is another signature.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from urllib.parse import urlencode

from connectors.rest.shapes import search
from engine.sdk.manifest_webhooks import Stamp, Verify
from engine.sdk.record import JSON, Fields
from engine.sdk.webhook import WebhookRequest

Secrets = Sequence[str]
_DIGITS = re.compile(r"[0-9]{1,14}\Z")
_PIECE = re.compile(r"\{(\w+)\}")
_HUBSPOT = dict(zip(("%3A", "%2F", "%3F", "%40", "%21", "%24", "%27", "%28", "%29", "%2A", "%2C", "%3B"), ":/?@!$'()*,;", strict=True))  # fmt: skip


def refusal(
    verify: Verify, secrets: Secrets, settings: Fields, request: WebhookRequest, facts: Callable[[], Fields]
) -> str | None:
    """Why a call is refused; None where it has proved where it comes from. facts: its body as expressions see it."""
    if verify.kind == "none":
        return None
    if not secrets:
        return "no secret is set"
    if verify.kind == "body_token":
        return _body_token(verify, secrets, facts())
    return KINDS[verify.kind](verify, secrets, settings, request)


def _equal(given: str, expected: Sequence[str]) -> bool:
    """Whether a text is one of several; takes the same time whichever it is."""
    found = [hmac.compare_digest(given.encode("utf-8", "replace"), one.encode()) for one in expected]
    return any(found)


def _hmac(secret: bytes, signed: bytes) -> bytes:
    return hmac.new(secret, signed, hashlib.sha256).digest()


def _encoded(value: bytes, encoding: str) -> str:
    return value.hex() if encoding == "hex" else base64.b64encode(value).decode()


def _stale(text: str, form: str, verify: Verify, request: WebhookRequest) -> str | None:
    """Why a call's own time does not count."""
    moment = _moment(text, form)
    if moment is None:
        return "its timestamp cannot be read"
    if abs((request.received - moment).total_seconds()) > verify.tolerance.total_seconds():
        return "it is too old, or of the future"
    return None


def _moment(text: str, form: str) -> datetime | None:
    try:
        if form in ("seconds", "any", "ms") and _DIGITS.match(text):
            return datetime.fromtimestamp(int(text) / (1000 if form == "ms" else 1), UTC)
        if form in ("instant", "any"):
            moment = datetime.fromisoformat(text)
            return moment if moment.tzinfo is not None else None
    except (ValueError, OverflowError, OSError):
        return None
    return None


def _parts(text: str) -> dict[str, list[str]]:
    """`t=1,v1=a,v1=b` as its parts."""
    found: dict[str, list[str]] = {}
    for one in text.split(","):
        name, equals, value = one.strip().partition("=")
        if equals:
            found.setdefault(name, []).append(value)
    return found


def _hmac_sha256(verify: Verify, secrets: Secrets, settings: Fields, request: WebhookRequest) -> str | None:
    given = request.headers.get(str(verify.header).lower(), "")
    if not given:
        return "it has no signature"
    parts = _parts(given)
    candidates = parts.get(verify.part, []) if verify.part else [given]
    candidates = [one.removeprefix(verify.prefix) for one in candidates if one.startswith(verify.prefix)]
    pieces: dict[str, bytes] = {"body": request.body, "method": request.method.upper().encode()}
    stamp = verify.timestamp
    if stamp is not None:
        text = _stamp_of(stamp, parts, request)
        stale = _stale(text, stamp.form, verify, request)
        if stale is not None:
            return stale
        pieces["timestamp"] = text.encode()
    if verify.id is not None:
        pieces["id"] = request.headers.get(verify.id.lower(), "").encode()
    if verify.url is not None:
        pieces["url"] = _address(settings.get(verify.url), request).encode()
    signed = b"".join(
        pieces.get(one, b"") if number % 2 else one.encode() for number, one in enumerate(_PIECE.split(verify.signed))
    )
    expected = [_encoded(_hmac(secret.encode(), signed), verify.encoding) for secret in secrets]
    found = [_equal(one, expected) for one in candidates[:5]]
    return None if any(found) else "its signature is wrong"


def _stamp_of(stamp: Stamp, parts: dict[str, list[str]], request: WebhookRequest) -> str:
    if stamp.part is not None:
        return (parts.get(stamp.part) or [""])[0]
    return request.headers.get(str(stamp.header).lower(), "")


def _address(base: JSON, request: WebhookRequest) -> str:
    """The public address that the system has called: behind a proxy only the connection can tell it."""
    query = f"?{urlencode(request.query)}" if request.query else ""
    return f"{str(base or '').rstrip('/')}{request.path}{query}"


def _standard(verify: Verify, secrets: Secrets, settings: Fields, request: WebhookRequest) -> str | None:
    """Standard Webhooks: `v1` by HMAC, `v1a` by ed25519; unknown versions do not count."""
    headers = request.headers
    id, stamp, given = (headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    if not (id and given):
        return "it has no signature"
    stale = _stale(stamp, "seconds", verify, request)
    if stale is not None:
        return stale
    signed = f"{id}.{stamp}.".encode() + request.body
    expected, keys = [], []
    for secret in secrets:
        raw = _decoded(secret.partition("_")[2] if secret.startswith(("whsec_", "whpk_")) else secret)
        if secret.startswith("whpk_"):
            keys.append(raw)
        else:
            expected.append(f"v1,{_encoded(_hmac(raw, signed), 'base64')}")
    found = [
        _equal(one, expected) or (one.startswith("v1a,") and any(_ed25519(key, one[4:], signed) for key in keys))
        for one in given.split(" ")[:10]
    ]
    return None if any(found) else "its signature is wrong"


def _decoded(text: str) -> bytes:
    """Base64 in its one right spelling; nothing for any other."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return raw if base64.b64encode(raw).decode() == text else b""


def _ed25519(key: bytes, signature: str, signed: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key).verify(_decoded(signature), signed)
    except (InvalidSignature, ValueError):
        return False
    return True


def _hubspot(verify: Verify, secrets: Secrets, settings: Fields, request: WebhookRequest) -> str | None:
    """HubSpot's version 3: method, address, body, timestamp in milliseconds."""
    given = request.headers.get("x-hubspot-signature-v3", "")
    stamp = request.headers.get("x-hubspot-request-timestamp", "")
    base = settings.get(str(verify.url))
    if not given or not base:
        return "it has no signature" if base else "the public address is not set"
    stale = _stale(stamp, "ms", verify, request)
    if stale is not None:
        return stale
    address = _address(base, request)
    for code, character in _HUBSPOT.items():
        address = address.replace(code, character).replace(code.lower(), character)
    signed = f"{request.method.upper()}{address}".encode() + request.body + stamp.encode()
    expected = [_encoded(_hmac(secret.encode(), signed), "base64") for secret in secrets]
    return None if _equal(given, expected) else "its signature is wrong"


def _token(verify: Verify, secrets: Secrets, settings: Fields, request: WebhookRequest) -> str | None:
    place, name = (request.query, verify.query) if verify.query else (request.headers, str(verify.header).lower())
    given = place.get(str(name), "")
    if not given:
        return "it has no token"
    return None if _equal(given, [verify.prefix + secret for secret in secrets]) else "its token is wrong"


def _basic(verify: Verify, secrets: Secrets, settings: Fields, request: WebhookRequest) -> str | None:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic" or not given:
        return "it has no user and password"
    user = str(settings.get(str(verify.user)) or "")
    expected = [base64.b64encode(f"{user}:{secret}".encode()).decode() for secret in secrets]
    return None if user and _equal(given, expected) else "its user or password is wrong"


def _rsa(verify: Verify, secrets: Secrets, settings: Fields, request: WebhookRequest) -> str | None:
    """RSA with SHA-256 over the body; the secrets are public keys in PEM."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    signature = _decoded(request.headers.get(str(verify.header).lower(), "").removeprefix(verify.prefix))
    if not signature:
        return "it has no signature"
    for secret in secrets:
        try:
            key = serialization.load_pem_public_key(secret.encode())
            if isinstance(key, RSAPublicKey):
                key.verify(signature, request.body, PKCS1v15(), hashes.SHA256())
                return None
        except (InvalidSignature, ValueError):
            continue
    return "its signature is wrong"


def _body_token(verify: Verify, secrets: Secrets, facts: Fields) -> str | None:
    found = search(verify.value, facts)
    given = found if isinstance(found, list) else [found]
    if not given or not all(isinstance(one, str) for one in given):
        return "it has no token"
    right = [_equal(one, secrets) for one in given]
    return None if all(right) else "its token is wrong"


KINDS: dict[str, Callable[[Verify, Secrets, Fields, WebhookRequest], str | None]] = {
    "hmac_sha256": _hmac_sha256, "standard_webhooks": _standard, "hubspot_v3": _hubspot, "token": _token, "basic": _basic,
    "rsa_sha256": _rsa,
}  # fmt: skip
