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
    scope: str | None = None
    audience: str | None = None
    algorithm: Literal["RS256", "PS256", "ES256"] = "RS256"
    assertion: Literal["grant", "client"] = "grant"
    """`grant`: the signed token is the grant; `client`: it proves the client."""
    header: str = "Authorization"
    prefix: str = "Bearer "
    realm: str | None = None
    instance: Expression | None = None
    """Where the token reply names the address to use from then on."""
    life: Duration = duration("1h")
    """How long a token is used where the reply does not say."""
