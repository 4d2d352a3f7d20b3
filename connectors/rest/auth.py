"""How requests prove who they are, by kind. Tokens are fetched once, however many threads ask."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import jmespath
from oauthlib import oauth1

from connectors.rest.assertions import assertion
from engine.sdk.config import ConnectionContext, Secret
from engine.sdk.errors import ConnectorError, Problem
from engine.sdk.http import Answer, HttpClient, Unanswered
from engine.sdk.manifest_auth import Auth

Fill = Callable[[str], str]
_FORM = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}


class Authenticator:
    """Adds credentials to requests. One an open connection; its methods may be called from several threads.

    open_client: a client for the token address, where that is another host than the system's.
    moved: told once where the token reply names the address to call from then on.
    """

    def __init__(
        self, context: ConnectionContext, spec: Auth, given: Mapping[str, Any], fill: Fill,
        open_client: Callable[[str], HttpClient], moved: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.name, self.context, self.spec, self.given, self.fill = context.name, context, spec, given, fill
        self.kind = str(given.get("kind") or spec.kinds[0])
        if self.kind not in spec.kinds:
            raise self._wrong(f"there is no authentication {self.kind!r} here", f"write one of {', '.join(spec.kinds)}")
        self._open_client, self._moved = open_client, moved
        self._lock = threading.Lock()
        self._token: str | None = None
        self._expires = 0.0
        self._refused: ConnectorError | None = None
        self._rotated: str | None = None
        self._client: HttpClient | None = None

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    @property
    def renewable(self) -> bool:
        """Whether a refused request may pass with new credentials; trying fixed ones again only locks the user out."""
        return self.kind.startswith("oauth")

    def _wrong(self, message: str, hint: str) -> ConnectorError:
        return ConnectorError("config", Problem("C520", f"connection {self.name!r}: {message}", None, hint))

    def setting(self, name: str) -> str:
        """A credential as text. Raises ConnectorError C520 where it is missing."""
        value = self.given.get(name)
        if value is None:
            raise self._wrong(f"`auth.{name}` is missing for {self.kind}", f"add `{name}: ${{secret:…}}` under `auth`")
        return value.reveal() if isinstance(value, Secret) else str(value)

    def headers(self, method: str, url: str) -> dict[str, str]:
        """Headers for one request."""
        if self.kind == "none":
            return {}
        if self.kind == "bearer":
            return {self.spec.header: f"{self.spec.prefix}{self.setting('token')}"}
        if self.kind == "api_key":
            return {str(self.given.get("header") or self.spec.header): self.setting("api_key")}
        if self.kind == "basic":
            return {"Authorization": _basic(self.setting("username"), self.setting("password"))}
        if self.kind == "oauth1_tba":
            return self._signed(method, url)
        return {self.spec.header: f"{self.spec.prefix}{self.token()}"}

    def _signed(self, method: str, url: str) -> dict[str, str]:
        client = oauth1.Client(
            self.setting("consumer_key"), self.setting("consumer_secret"), self.setting("token"), self.setting("token_secret"),
            signature_method=oauth1.SIGNATURE_HMAC_SHA256, realm=self.fill(self.spec.realm) if self.spec.realm else None,
        )  # fmt: skip
        _, headers, _ = client.sign(url, http_method=method.upper())  # type: ignore[arg-type]
        return {"Authorization": str(headers["Authorization"])}

    # ------------------------------------------------------------------ tokens
    def prepare(self) -> None:
        """Before addresses are made: a token whose reply names the address must be there."""
        if self.spec.instance is not None and self.kind.startswith("oauth2") and self._token is None:
            self.token()

    def token(self) -> str:
        """The token; fetched by one thread while the others wait. A refusal is remembered: it would lock the user out."""
        with self._lock:
            if self._refused is not None:
                raise self._refused
            if self._token is None or time.monotonic() > self._expires:
                self._fetch()
            assert self._token is not None
            return self._token

    def refuse(self, used: str | None) -> None:
        """The system refused this header: fetch another token, unless somebody has done so already."""
        with self._lock:
            if used is None or used == f"{self.spec.prefix}{self._token}":
                self._token = None

    def _fetch(self) -> None:
        url = self.fill(str(self.given.get("token_url") or self.spec.token_url or ""))
        form, headers = self._grant(url)
        if self._client is None:
            self._client = self._open_client(url)
        client, data = self._client, urlencode(form).encode()
        try:  # once: whoever needs the token tries again, where that may help
            answer = self._asked(client.send("POST", url, headers={**_FORM, **headers}, body=data))
        except Unanswered as error:  # what was not answered is the request for a token, not the one it is for
            raise ConnectorError(error.trouble, error.problem, wait=error.wait) from None
        body = answer.body if isinstance(answer.body, dict) else {}
        if answer.status != 200 or not isinstance(body.get("access_token"), str):
            self._refused = self._no_token(answer, "auth")
            raise self._refused
        self._token = body["access_token"]
        try:
            life = float(str(body.get("expires_in")))
        except ValueError:
            life = self.spec.life.total_seconds()
        self._expires = time.monotonic() + life * 0.9
        if isinstance(body.get("refresh_token"), str) and self.kind == "oauth2_refresh_token":
            self._rotate(body["refresh_token"])
        if self.spec.instance is not None:
            where = jmespath.search(self.spec.instance, answer.facts())
            if isinstance(where, str) and where:
                self._moved(where)

    def _asked(self, answer: Answer) -> Answer:
        """The reply of the token address; what may pass is told as such, so that it is asked again."""
        if answer.status >= 500 or answer.status in (408, 429):
            raise self._no_token(answer, "rate_limited" if answer.status == 429 else "server")
        return answer

    def _no_token(self, answer: Answer, trouble: Any) -> ConnectorError:
        body = answer.body if isinstance(answer.body, dict) else {}
        reason = str(body.get("error_description") or body.get("error") or f"status {answer.status}")
        for value in self.given.values():
            if isinstance(value, Secret) and value.reveal():
                reason = reason.replace(value.reveal(), str(value))
        text = " ".join(reason.split())[:300]
        return ConnectorError(trouble, Problem("C521", f"connection {self.name!r}: no token: {text}", None,
                                               "see the credentials under `auth`"))  # fmt: skip

    # ------------------------------------------------------------------ refresh tokens that change
    def _refresh_token(self) -> str:
        if self._rotated is not None:
            return self._rotated
        path = self._token_file()
        return path.read_text("utf-8").strip() if path is not None and path.is_file() else self.setting("refresh_token")

    def _token_file(self) -> Path | None:
        given = self.given.get("refresh_token_file")
        return self.context.path(str(given)) if given else None

    def _rotate(self, token: str) -> None:
        """Keep a new refresh token: the old one may be dead from now on."""
        path = self._token_file()
        if path is not None and token != self._refresh_token():
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(f"{path.name}.new")
            fresh.touch(0o600)
            fresh.write_text(token, "utf-8")
            fresh.replace(path)
        self._rotated = token

    def _grant(self, url: str) -> tuple[dict[str, str], dict[str, str]]:
        """Form and headers that ask for a token."""
        scope = {"scope": self.fill(self.spec.scope)} if self.spec.scope else {}
        more = {name: self.fill(text) for name, text in self.spec.params.items()}
        if self.kind == "oauth2_refresh_token":
            form = {"grant_type": "refresh_token", "refresh_token": self._refresh_token(), **more}
            return self._with_client(form)
        if self.kind == "oauth2_client_credentials" and self.spec.assertion == "grant":
            return self._with_client({"grant_type": "client_credentials", **scope, **more})
        signed = assertion(self.spec, self.setting, url, self.fill, self._key_id(), self._wrong)
        if self.spec.assertion == "client":
            kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            return {
                "grant_type": "client_credentials",
                "client_assertion_type": kind,
                "client_assertion": signed,
                **more,
            }, {}
        return {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": signed, **more}, {}

    def _key_id(self) -> str | None:
        return self.setting("key_id") if self.given.get("key_id") is not None else None

    def _with_client(self, form: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """The client's id and secret, where the system wants them."""
        id, secret = self.setting("client_id"), self.setting("client_secret")
        if self.spec.client == "body":
            return {**form, "client_id": id, "client_secret": secret}, {}
        return form, {"Authorization": _basic(id, secret)}


def _basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def origin(url: str) -> str:
    """Scheme and host of an address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
