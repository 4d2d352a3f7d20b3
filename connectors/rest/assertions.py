"""Signed assertions (RFC 7523): a JWT made of the manifest's claims and the connection's private key."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from engine.sdk.manifest_auth import Auth

_HASHES: dict[str, Any] = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}
_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
LIFE = 170
"""Seconds that an assertion is good for; the strictest system takes three minutes."""
Wrong = Callable[[str, str], Exception]


def assertion(
    spec: Auth, setting: Callable[[str], str], url: str, fill: Callable[[str], str], key_id: str | None, wrong: Wrong
) -> str:
    """The signed token. Raises what `wrong` makes for keys that do not fit the algorithm."""
    now = int(time.time())
    algorithm = spec.algorithm
    header: dict[str, str] = {"typ": "JWT", "alg": algorithm}
    if key_id:
        header["kid"] = key_id
    audience = fill(spec.audience) if spec.audience else url
    claims: dict[str, Any] = {
        "iss": setting("client_id"),
        "iat": now,
        "exp": now + LIFE,
        "jti": str(uuid.uuid4()),
        "aud": audience,
    }
    if spec.assertion == "client":
        claims["scope"] = (spec.scope or "").split()
    else:
        claims["sub"] = setting("username")
    text = f"{_b64(json.dumps(header).encode())}.{_b64(json.dumps(claims).encode())}"
    return f"{text}.{_b64(_sign(algorithm, setting('private_key'), text.encode(), wrong))}"


def _sign(algorithm: str, pem: str, data: bytes, wrong: Wrong) -> bytes:
    try:
        key = serialization.load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise wrong("`auth.private_key` is not a PEM key without a password", "write the key as PEM text") from None
    digest = _HASHES[algorithm[2:]]()
    if algorithm.startswith("ES"):
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != _CURVES[algorithm]:
            raise wrong(f"`auth.private_key` does not fit {algorithm}", f"make a key on the curve {_CURVES[algorithm]}")
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
        size = (key.curve.key_size + 7) // 8
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    if not isinstance(key, rsa.RSAPrivateKey):
        raise wrong(f"`auth.private_key` does not fit {algorithm}", "make an RSA key")
    if algorithm.startswith("PS"):
        return key.sign(data, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
    return key.sign(data, padding.PKCS1v15(), digest)


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
