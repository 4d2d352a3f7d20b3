"""Who asks: OAuth 1.0a signatures (TBA) computed again from the request, OAuth 2.0 tokens for signed client assertions."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import threading
import time
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from connectors.sandbox.keys import BadAssertion, opened
from connectors.sandbox.netsuite.errors import Fault
from connectors.sandbox.server import Reply, Request

CREDENTIALS = {
    "account": "SANDBOX_SB1", "consumer_key": "sandbox-ck", "consumer_secret": "sandbox-cs", "token": "sandbox-tk",
    "token_secret": "sandbox-ts", "oauth2_client_id": "sandbox-m2m", "certificate_id": "sandbox-certificate",
}  # fmt: skip
TOKEN_PATH = "/services/rest/auth/oauth2/v1/token"  # noqa: S105 - a path
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SCOPES = {"rest_webservices", "restlets", "suite_analytics"}
SKEW = 300
"""Seconds that a client's clock may be off."""
KEPT = 2 * SKEW


class Access:
    """Tokens and used nonces of one account. life: seconds of an OAuth 2.0 token."""

    def __init__(self) -> None:
        self.life = 3600.0
        self._tokens: dict[str, float] = {}
        self._nonces: dict[str, float] = {}
        self._lock = threading.Lock()

    def expire(self) -> None:
        """OAuth 2.0 tokens end; those of TBA do not expire."""
        self._tokens.clear()

    def check(self, request: Request) -> None:
        """Raises Fault 401."""
        header = request.headers.get("authorization", "")
        if header.startswith("Bearer "):
            at = self._tokens.get(header[7:])
            if at is not None and time.monotonic() - at < self.life:
                return
        elif header.startswith("OAuth ") and self._signed(request, header):
            return
        raise Fault(
            401,
            "INVALID_LOGIN",
            "Invalid login attempt. For more details, see the Login Audit Trail in the NetSuite UI.",
        )

    # ------------------------------------------------------------------ OAuth 1.0a
    def _signed(self, request: Request, header: str) -> bool:
        given = {unquote(name): unquote(value) for name, value in re.findall(r'([\w%]+)="([^"]*)"', header[6:])}
        known = CREDENTIALS
        nonce, stamp = given.get("oauth_nonce", ""), given.get("oauth_timestamp", "")
        right = (
            given.pop("realm", "") == known["account"] and given.get("oauth_consumer_key") == known["consumer_key"]
            and given.get("oauth_token") == known["token"] and given.get("oauth_signature_method") == "HMAC-SHA256"
            and given.get("oauth_version", "1.0") == "1.0" and 6 <= len(nonce) <= 64
            and stamp.isdigit() and abs(time.time() - int(stamp)) <= SKEW
        )  # fmt: skip
        signature = given.pop("oauth_signature", "")
        if not right or not hmac.compare_digest(signature, signed(request.method, request.url, given)):
            return False
        with self._lock:
            if nonce in self._nonces:
                return False
            self._nonces[nonce] = time.time()
            if len(self._nonces) > 10_000:
                self._nonces = {name: at for name, at in self._nonces.items() if at > time.time() - KEPT}
        return True

    # ------------------------------------------------------------------ OAuth 2.0
    def token(self, request: Request, url: str) -> Reply:
        """The token endpoint: client credentials with a JWT that the registered certificate signed."""
        form = request.form()
        if form.get("grant_type") != "client_credentials" or form.get("client_assertion_type") != ASSERTION:
            return Reply(400, {"error": "invalid_request"})
        try:
            header, claims = opened(form.get("client_assertion", ""), ("PS256", "ES256"))
        except BadAssertion:
            return Reply(400, {"error": "invalid_grant"})
        now = time.time()
        scope = claims.get("scope", [])
        asked = set(scope if isinstance(scope, list) else re.split(r"[,\s]+", str(scope)))
        issued, ends = float(claims.get("iat", 0)), float(claims.get("exp", 0))
        audience = claims.get("aud")
        audiences = set(audience if isinstance(audience, list) else [audience])
        if claims.get("iss") != CREDENTIALS["oauth2_client_id"] or header.get("kid") != CREDENTIALS["certificate_id"]:
            return Reply(401, {"error": "invalid_client"})
        if not asked or not asked <= SCOPES:
            return Reply(400, {"error": "invalid_scope"})
        host = CREDENTIALS["account"].lower().replace("_", "-")
        public = f"https://{host}.suitetalk.api.netsuite.com{TOKEN_PATH}"
        if not audiences & {url + TOKEN_PATH, public} or not now < ends <= issued + 3600 or issued > now + SKEW:
            return Reply(400, {"error": "invalid_grant"})
        token = secrets.token_urlsafe(32)
        self._tokens[token] = time.monotonic()
        return Reply(200, {"access_token": token, "expires_in": str(int(self.life)), "token_type": "bearer"})


def signed(method: str, url: str, oauth: dict[str, str]) -> str:
    """The signature that a request must carry: HMAC-SHA256 over method, address without query, and sorted parameters."""
    parts = urlsplit(url)
    pairs = [*oauth.items(), *parse_qsl(parts.query, keep_blank_values=True)]
    joined = "&".join("=".join(pair) for pair in sorted((_percent(name), _percent(value)) for name, value in pairs))
    base = "&".join(
        (method.upper(), _percent(f"{parts.scheme.lower()}://{parts.netloc.lower()}{parts.path}"), _percent(joined))
    )
    key = f"{_percent(CREDENTIALS['consumer_secret'])}&{_percent(CREDENTIALS['token_secret'])}"
    return base64.b64encode(hmac.new(key.encode(), base.encode(), hashlib.sha256).digest()).decode()


def _percent(text: str) -> str:
    return quote(text, safe="-._~")
