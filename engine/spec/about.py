"""What any document may say of itself."""

from __future__ import annotations

from engine.sdk.config import Config


class About(Config):
    """Who answers for a document, and what a reader should know."""

    owner: str | None = None
    """Person or team."""
    notes: str | None = None
    """Anything that a reader should know."""
