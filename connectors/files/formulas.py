"""Text that a spreadsheet program would run as a formula, made harmless and brought back.

Text that starts with `= + - @`, tab or return (full-width forms too) is written with a leading apostrophe, in CSV and
XLSX alike; so is text that already looks guarded. Reading takes exactly one such apostrophe off, so every text comes
back as it was. A foreign file whose cells start with an apostrophe before such a sign loses that apostrophe, as it
does in the spreadsheet program itself.
"""

from __future__ import annotations

import unicodedata

RISKY = frozenset("=+-@\t\r\n")


def guarded(text: str) -> str:
    """The text, with an apostrophe before it where it could run as a formula."""
    if not text:
        return text
    first = text[0]
    if first == "'":
        return f"'{text}" if _looks_guarded(text) else text
    return f"'{text}" if _runs(first) else text


def unguarded(text: str) -> str:
    """The text without that apostrophe."""
    return text[1:] if text[:1] == "'" and _looks_guarded(text) else text


def _looks_guarded(text: str) -> bool:
    """True where `unguarded` takes an apostrophe off."""
    rest = text.lstrip("'")
    return rest != "" and _runs(rest[0])


def _runs(first: str) -> bool:
    return first in RISKY or (first > "\x7f" and unicodedata.normalize("NFKC", first)[:1] in RISKY)
