"""Tokens of Salesforce: client credentials and JWT bearer; no refresh token, no lifetime in the reply."""

from __future__ import annotations

import base64
import secrets
import time

from connectors.sandbox.keys import BadAssertion, opened
from connectors.sandbox.server import Reply, Request

CREDENTIALS = {
    "client_id": "sandbox-client",
    "client_secret": "sandbox-secret",
    "username": "seller1@crosswalk.example",
}
AUDIENCES = ("https://login.salesforce.com", "https://test.salesforce.com")
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LONGEST = 180
"""Seconds that an assertion may live."""


class Tokens:
    """Sessions of one org. life: seconds until one expires by itself, None for never."""

    def __init__(self) -> None:
        self._given: dict[str, float] = {}
        self.life: float | None = None

    def expire(self) -> None:
        """Every session ends."""
        self._given.clear()

    def valid(self, request: Request) -> bool:
        """Whether a request carries a session that lives."""
        token = request.headers.get("authorization", "").removeprefix("Bearer ").removeprefix("OAuth ")
        at = self._given.get(token)
        return at is not None and (self.life is None or time.monotonic() - at < self.life)

    def answer(self, request: Request, url: str) -> Reply:
        """The token endpoint."""
        form = request.form()
        kind = form.get("grant_type")
        if kind == "client_credentials":
            wrong = self._client(request, form)
        elif kind == JWT_BEARER:
            wrong = self._assertion(form.get("assertion", ""), url)
        else:
            wrong = ("unsupported_grant_type", "grant type not supported")
        if wrong:
            return Reply(400, {"error": wrong[0], "error_description": wrong[1]})
        token = "00D" + secrets.token_hex(24)
        self._given[token] = time.monotonic()
        return Reply(200, {
            "access_token": token, "instance_url": url, "id": f"{url}/id/00D000000000001AAA/005000000000001AAA", "token_type": "Bearer",
            "issued_at": str(int(time.time() * 1000)), "signature": secrets.token_urlsafe(16), "scope": "api",
        })  # fmt: skip

    @staticmethod
    def _client(request: Request, form: dict[str, str]) -> tuple[str, str] | None:
        given = (form.get("client_id", ""), form.get("client_secret", ""))
        basic = request.headers.get("authorization", "")
        if basic.startswith("Basic "):
            id, _, secret = base64.b64decode(basic[6:]).decode().partition(":")
            given = id, secret
        if given[0] != CREDENTIALS["client_id"]:
            return "invalid_client_id", "client identifier invalid"
        if given[1] != CREDENTIALS["client_secret"]:
            return "invalid_client", "invalid client credentials"
        return None

    @staticmethod
    def _assertion(assertion: str, url: str) -> tuple[str, str] | None:
        try:
            _, claims = opened(assertion, ("RS256",))
        except BadAssertion as error:
            return "invalid_grant", f"invalid assertion: {error}"
        left = float(claims.get("exp", 0)) - time.time()
        if claims.get("iss") != CREDENTIALS["client_id"]:
            return "invalid_client_id", "client identifier invalid"
        if claims.get("sub") != CREDENTIALS["username"]:
            return "invalid_grant", "user hasn't approved this consumer"
        if claims.get("aud") not in (*AUDIENCES, url):
            return "invalid_grant", "audience is invalid"
        if not 0 < left <= LONGEST:
            return "invalid_grant", "assertion has expired" if left <= 0 else "assertion lives too long"
        return None
