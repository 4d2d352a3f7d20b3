"""Key pairs of the sandbox: constant and public, for signed assertions against the fakes and for nothing else."""

from __future__ import annotations

import base64
import json
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

_P = int(
    "ed5e605527d54610fa7c55a52e8f91809c5b8e62669eb97d8b6238aceafc4941eb9f65e798a5e4771569a427b2c30416"
    "1f930ad6e8c029006c1b355e8c5b089b69e4d1ba654e99ff853ed57358bd3843b01d6a37a017673d1838b2d24855b0a3"
    "9a0869991eba2653f653c02292aeabb907bb78d09faf2db196850aec43506d87637404b4bb1e2b3a71e541e7f69d4579"
    "6abecc89ac9ca6fe8a88bb107f1a41e8e71fb3bbf2e06a31b7a8c59d932174ecb6ca6d24b85ccf2ededc4b4cc5c441cf",
    16,
)
_Q = int(
    "c991402251ae508d7cbbbbfe25ffd59af5d95c5e5f240527a30b09c816b976f384689d603fde04408d30e0bafa84fddc"
    "851a63b7fd5c2b4eff93bb12a4405eb38a91f86ce405dc7ba93dcf9fffb9e23266ae2415fc1d5806c9925d84ea52b6cf"
    "6499c79b1d1dfef50aed00c70fa375014721b759385b11a8f8b044597dbbba9e42434c05ce08c9768c54062f0539aead"
    "97efafe6e06557a93b9799b0b3cd2b2697695c7554fea24d132508f6b43c0d32782e5ad8d20af7e1863b2e3cd6d0eb51",
    16,
)
_EC = 0x5EED_C205_5A11_5EED_C205_5A11_5EED_C205_5A11


class BadAssertion(Exception):
    """A JWT that cannot be read, or was not signed by the sandbox's key."""


@lru_cache
def rsa_key() -> rsa.RSAPrivateKey:
    """3072 bits, for RS256 and PS256."""
    phi, public = (_P - 1) * (_Q - 1), rsa.RSAPublicNumbers(65537, _P * _Q)
    d = pow(65537, -1, phi)
    return rsa.RSAPrivateNumbers(_P, _Q, d, d % (_P - 1), d % (_Q - 1), pow(_Q, -1, _P), public).private_key()


@lru_cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    """P-256, for ES256."""
    return ec.derive_private_key(_EC, ec.SECP256R1())


def pem(algorithm: str) -> str:
    """The private key that signs for an algorithm (RS256, PS256, ES256), PKCS 8 as PEM text."""
    key = ec_key() if algorithm == "ES256" else rsa_key()
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def opened(token: str, algorithms: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a JWT whose signature is right. Raises BadAssertion."""
    try:
        head, body, signature = token.split(".")
        header, claims = json.loads(_raw(head)), json.loads(_raw(body))
        algorithm = header["alg"]
        if algorithm not in algorithms:
            raise BadAssertion(f"algorithm {algorithm} is not accepted")
        _verify(algorithm, _raw(signature), f"{head}.{body}".encode())
    except (ValueError, KeyError, TypeError) as error:
        raise BadAssertion(f"not a JWT: {type(error).__name__}") from None
    except InvalidSignature:
        raise BadAssertion("the signature does not match the registered certificate") from None
    return header, claims


def _verify(algorithm: str, signature: bytes, data: bytes) -> None:
    digest = hashes.SHA256()
    if algorithm == "ES256":
        if len(signature) != 64:
            raise InvalidSignature
        pair = encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
        ec_key().public_key().verify(pair, data, ec.ECDSA(digest))
    elif algorithm == "PS256":
        rsa_key().public_key().verify(signature, data, padding.PSS(padding.MGF1(digest), 32), digest)
    else:
        rsa_key().public_key().verify(signature, data, padding.PKCS1v15(), digest)


def _raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
