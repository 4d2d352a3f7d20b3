"""Functions of text. Null goes through as null, so that they can be chained over optional fields."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from engine.compile.functions.function import FunctionFault, function
from engine.compile.operators import number as is_number

Text = str | None
MAX_TEXT = 1_000_000


@function("string|null", examples=[("trim('  a b ')", "a b")], cleaning=True)
def trim(text: Text) -> Text:
    """Text without blanks at its ends."""
    return None if text is None else text.strip()


@function("string|null", examples=[("upper('aé')", "AÉ")], cleaning=True)
def upper(text: Text) -> Text:
    """Text in capital letters."""
    return None if text is None else text.upper()


@function("string|null", examples=[("lower('AÉ')", "aé")], cleaning=True)
def lower(text: Text) -> Text:
    """Text in small letters."""
    return None if text is None else text.lower()


@function("string|null", examples=[("title('ada LOVELACE')", "Ada Lovelace")], cleaning=True)
def title(text: Text) -> Text:
    """Text with each word capitalised."""
    return None if text is None else re.sub(r"[^\W\d_]+", lambda word: word[0].capitalize(), text)


@function("string|null", examples=[("slug('Été & Fils')", "ete-fils")])
def slug(text: Text) -> Text:
    """Text as lower-case ASCII words joined by hyphens."""
    if text is None:
        return None
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return "-".join(re.findall(r"[a-z0-9]+", plain.lower()))


@function("string|null", examples=[("digits('+44 (0)20')", "44020")])
def digits(text: Text) -> Text:
    """The digits of a text."""
    return None if text is None else "".join(re.findall(r"[0-9]", text))


@function(
    "string|number|null", "number", "string?", examples=[("pad('7', `3`, '0')", "007"), ("pad(`7`, `3`, '0')", "007")]
)
def pad(text: Any, width: int, mark: str = " ") -> Text:
    """Text filled on the left up to a width."""
    if text is None:
        return None
    if len(mark) != 1 or width > MAX_TEXT:
        raise FunctionFault("pad() wants one character to fill with, and a width up to 1,000,000")
    return str(text).rjust(int(width), mark)


@function("string|null", "number", examples=[("left('abcdef', `3`)", "abc")])
def left(text: Text, count: int) -> Text:
    """The first characters of a text."""
    return None if text is None else text[: max(int(count), 0)]


@function("string|null", "number", examples=[("right('abcdef', `2`)", "ef"), ("right('abc', `0`)", "")])
def right(text: Text, count: int) -> Text:
    """The last characters of a text."""
    return None if text is None else text[-int(count) :] if count > 0 else ""


@function("string|null", "string", "string", examples=[("replace('1-2-3', '-', '')", "123")])
def replace(text: Text, old: str, new: str) -> Text:
    """Text with one part replaced by another wherever it stands."""
    if text is None:
        return None
    if not old:
        raise FunctionFault("replace() wants a text to look for")
    if text.count(old) * len(new) > MAX_TEXT:
        raise FunctionFault("replace() would give more than 1,000,000 characters")
    return text.replace(old, new)


@function("string|null", "string", examples=[("split('a;b', ';')", ["a", "b"])], inverse="join_text")
def split(text: Text, separator: str) -> list[str] | None:
    """The parts of a text."""
    if text is not None and not separator:
        raise FunctionFault("split() wants a separator")
    return None if text is None else text.split(separator)


@function("array|null", "string", examples=[("join_text(`[\"a\", null, 1]`, '-')", "a-1")], inverse="split")
def join_text(parts: list[Any] | None, separator: str) -> Text:
    """A list as text; nulls are left out."""
    if parts is None:
        return None
    return separator.join(_text(part) for part in parts if part is not None)


def _text(value: Any) -> str:
    if value.__class__ is str:
        return str(value)
    if is_number(value):
        return format(value, "f") if not isinstance(value, int) else str(value)
    if value.__class__ is bool:
        return "true" if value else "false"
    raise FunctionFault("join_text() wants a list of texts and numbers")


FUNCTIONS = (trim, upper, lower, title, slug, digits, pad, left, right, replace, split, join_text)
