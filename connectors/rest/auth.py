"""How requests prove who they are, by kind. Tokens are fetched once, however many threads ask."""

from __future__ import annotations

import base64
import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import jmespath
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from oauthlib import oauth1

from engine.sdk.config import Secret
from engine.sdk.errors import ConnectorError, Problem
from engine.sdk.http import HttpClient
from engine.sdk.manifest_auth import Auth

Fill = Callable[[str], str]
_FORM = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}


class Authenticator:
    """Adds credentials to requests."""

    def __init__(self, name: str, spec: Auth, given: Mapping[str, Any], fill: Fill) -> None:
        self.name, self.spec, self.given, self.fill = name, spec, given, fill
        self.kind = str(given.get("kind") or spec.kinds[0])
        if self.kind not in spec.kinds:
            raise self._wrong(f"there is no authentication {self.kind!r} here", f"write one of {', '.join(spec.kinds)}")
        self._lock = threading.Lock()
        self._token: str | None = None
        self._expires = 0.0
        self.instance: str | None = None

    def _wrong(self, message: str, hint: str) -> ConnectorError:
        return ConnectorError("config", Problem("C520", f"connection {self.name!r}: {message}", None, hint))

    def setting(self, name: str) -> str:
        """A credential as text. Raises ConnectorError C520 where it is missing."""
        value = self.given.get(name)
        if value is None:
            raise self._wrong(f"`auth.{name}` is missing for {self.kind}", f"add `{name}: ${{secret:…}}` under `auth`")
        return value.reveal() if isinstance(value, Secret) else str(value)

    def headers(self, client: HttpClient, method: str, url: str) -> dict[str, str]:
        """Headers for one request."""
        if self.kind == "none":
            return {}
        if self.kind == "bearer":
            return {self.spec.header: f"{self.spec.prefix}{self.setting('token')}"}
        if self.kind == "api_key":
            return {str(self.given.get("header") or self.spec.header): self.setting("api_key")}
        if self.kind == "basic":
            pair = f"{self.setting('username')}:{self.setting('password')}".encode()
            return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
        if self.kind == "oauth1_tba":
            return self._signed(method, url)
        return {"Authorization": f"Bearer {self.token(client)}"}

    def _signed(self, method: str, url: str) -> dict[str, str]:
        client = oauth1.Client(
            self.setting("consumer_key"), self.setting("consumer_secret"), self.setting("token"), self.setting("token_secret"),
            signature_method=oauth1.SIGNATURE_HMAC_SHA256, realm=self.fill(self.spec.realm) if self.spec.realm else None,
        )  # fmt: skip
        _, headers, _ = client.sign(url, http_method=method.upper())  # type: ignore[arg-type]
        return {"Authorization": str(headers["Authorization"])}

    def token(self, client: HttpClient) -> str:
        """The token; fetched by one thread while the others wait."""
        with self._lock:
            if self._token is None or time.monotonic() > self._expires:
                self._fetch(client)
            assert self._token is not None
            return self._token

    def refuse(self, used: str | None) -> None:
        """The system refused this token: fetch another, unless somebody has done so already."""
        with self._lock:
            if used is None or used == f"Bearer {self._token}":
                self._token = None

    def _fetch(self, client: HttpClient) -> None:
        url = self.fill(str(self.given.get("token_url") or self.spec.token_url or ""))
        form, headers = self._grant(url)
        answer = client.retried(
            lambda: client.send("POST", url, headers={**_FORM, **headers}, body=urlencode(form).encode())
        )
        body = answer.body if isinstance(answer.body, dict) else {}
        if answer.status != 200 or not body.get("access_token"):
            reason = body.get("error_description") or body.get("error") or f"status {answer.status}"
            raise ConnectorError("auth", Problem("C521", f"connection {self.name!r}: no token: {reason}", None,
                                                 "see the credentials under `auth`"))  # fmt: skip
        self._token = str(body["access_token"])
        life = float(str(body.get("expires_in") or self.spec.life.total_seconds()))
        self._expires = time.monotonic() + life * 0.9
        if self.spec.instance is not None:
            self.instance = jmespath.search(self.spec.instance, answer.facts())

    def _grant(self, url: str) -> tuple[dict[str, str], dict[str, str]]:
        scope = {"scope": self.spec.scope} if self.spec.scope else {}
        if self.kind == "oauth2_refresh_token":
            return {"grant_type": "refresh_token", "refresh_token": self.setting("refresh_token"),
                    "client_id": self.setting("client_id"), "client_secret": self.setting("client_secret")}, {}  # fmt: skip
        if self.kind == "oauth2_client_credentials" and self.spec.assertion == "grant":
            pair = f"{self.setting('client_id')}:{self.setting('client_secret')}".encode()
            return {"grant_type": "client_credentials", **scope}, {
                "Authorization": f"Basic {base64.b64encode(pair).decode()}"
            }
        assertion = self._assertion(url)
        if self.spec.assertion == "client":
            kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            return {
                "grant_type": "client_credentials",
                "client_assertion_type": kind,
                "client_assertion": assertion,
            }, {}
        return {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}, {}

    def _assertion(self, url: str) -> str:
        """A signed JWT (RFC 7523)."""
        now = int(time.time())
        header = {"typ": "JWT", "alg": self.spec.algorithm}
        if self.given.get("key_id"):
            header["kid"] = self.setting("key_id")
        claims: dict[str, Any] = {"iss": self.setting("client_id"), "iat": now, "exp": now + 170, "jti": str(uuid.uuid4()),
                                  "aud": self.fill(self.spec.audience) if self.spec.audience else url}  # fmt: skip
        if self.spec.assertion == "client":
            claims["scope"] = (self.spec.scope or "").split()
        else:
            claims["sub"] = self.setting("username")
        text = f"{_b64(json.dumps(header).encode())}.{_b64(json.dumps(claims).encode())}"
        return f"{text}.{_b64(self._sign(text.encode()))}"

    def _sign(self, data: bytes) -> bytes:
        try:
            key = serialization.load_pem_private_key(self.setting("private_key").encode(), None)
        except ValueError:
            raise self._wrong("`auth.private_key` is not a PEM key", "write the key as PEM text") from None
        if isinstance(key, ec.EllipticCurvePrivateKey):
            r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        assert isinstance(key, rsa.RSAPrivateKey)
        if self.spec.algorithm == "PS256":
            return key.sign(data, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def origin(url: str) -> str:
    """Scheme and host of an address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
