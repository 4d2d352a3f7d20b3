"""How a manifest says that requests prove who they are: named kinds, and what each needs to know."""

from __future__ import annotations

from typing import Literal

from engine.sdk.config import Config, Duration, duration
from engine.sdk.manifest_requests import Expression

AuthKind = Literal[
    "none",
    "bearer",
    "basic",
    "api_key",
    "oauth2_client_credentials",
    "oauth2_jwt_bearer",
    "oauth2_refresh_token",
    "oauth1_tba",
]


class Auth(Config):
    """How requests prove who they are."""

    kinds: list[AuthKind] = ["none"]
    """Kinds that a connection may choose; the first is the default."""
    token_url: str | None = None
    """Where tokens are asked for; may be another host."""
    scope: str | None = None
    params: dict[str, str] = {}
    """More parameters of the request for a token."""
    client: Literal["header", "body"] = "header"
    """Where the client's id and secret go: HTTP Basic, or the form."""
    audience: str | None = None
    """`aud` of assertions; the token address where it is left out."""
    algorithm: Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"] = "RS256"
    assertion: Literal["grant", "client"] = "grant"
    """`grant`: the signed token is the grant; `client`: it proves the client."""
    header: str = "Authorization"
    prefix: str = "Bearer "
    realm: str | None = None
    """`realm` of OAuth 1.0a signatures."""
    instance: Expression | None = None
    """Where the token reply names the address to call from then on; it becomes the setting `url`."""
    life: Duration = duration("1h")
    """How long a token is used where the reply does not say."""
