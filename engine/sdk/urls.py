"""Addresses of HTTP requests: what goes on the request line, and what may be told of them."""

from __future__ import annotations

from urllib.parse import urlsplit


def target(url: str) -> str:
    """Path and query of an address, as the request line has them."""
    rest = url.split("://", 1)[1]
    slash = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    path = rest[slash:].split("#", 1)[0]
    return path if path.startswith("/") else f"/{path}"


def shown(url: str) -> str:
    """An address without user, password and query, fit for a message."""
    parts = urlsplit(url) if url.isprintable() else urlsplit("")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:200]
