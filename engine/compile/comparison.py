"""How two canonical values are compared: typed equality, tolerances and text rules by field, nested and by element.

A field's *form* is what must be equal; tolerances are asked only where forms differ. Marks stand for what is no value:
a side that says nothing about a field, and one whose value cannot be read.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from itertools import zip_longest
from typing import NamedTuple

from engine.compile.casts import EXACT
from engine.compile.operators import number
from engine.sdk.instants import zoned_moment
from engine.sdk.money import minor_digits
from engine.sdk.record import JSON, Fields, canonical_json, same
from engine.spec.reconcile import Comparison

MARK = "\0"
SILENT: Fields = {MARK: "silent"}
"""The side says nothing about the field."""


def unreadable(code: str, message: str) -> Fields:
    """The side has a value that its mapping cannot read."""
    return {MARK: "fault", "code": code, "message": message}


def fault_of(value: JSON) -> str | None:
    """Why a value cannot be read; None for every value that can."""
    return f"{value['message']} ({value['code']})" if value.__class__ is dict and value.get(MARK) == "fault" else None


def told(value: JSON) -> JSON:
    """A value as results keep it: marks as objects that say what they are."""
    if value.__class__ is dict and MARK in value:
        return {"$missing": True} if value == SILENT else {"$unreadable": fault_of(value)}
    return value


class Difference(NamedTuple):
    """One value that differs. path: of the field, with `[key]` for an element. values: one a side, marks included.

    why: what a person should know beside the values; None where they speak for themselves.
    """

    path: str
    left: JSON
    right: JSON
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Leaf:
    """A field that is compared as one. path: dotted, within the record or the element. keys: what tells an
    element from the others; without them elements are compared by their place. inner: what is compared of an element."""

    path: str
    kind: str
    """text number money date instant list set elements plain."""
    rule: Comparison = field(default_factory=Comparison)
    inner: tuple[Leaf, ...] = ()
    keys: tuple[Leaf, ...] = ()

    def pick(self, record: JSON) -> JSON:
        """The field's value; SILENT where the record says nothing."""
        for name in self.path.split("."):
            if record.__class__ is not dict:
                return None if record is None else SILENT
            if name not in record:
                return SILENT
            record = record[name]
        return record

    def form(self, value: JSON) -> JSON:
        """What must be equal for two values to be."""
        if value.__class__ is dict and MARK in value:
            return None if self.rule.empty == "same" and value == SILENT else value
        if self.rule.empty == "same" and (
            value is None or value == [] or (value.__class__ is str and not value.strip())
        ):
            return None
        if value is None:
            return None
        special = _FORMS.get(self.kind)
        return value if special is None else special(self, value)

    def picker(self) -> Callable[[Fields], JSON]:
        """`pick` for the records of a run."""
        path = self.path
        if "." in path:
            return self.pick
        return lambda record: record.get(path, SILENT)

    def former(self) -> Callable[[JSON], JSON] | None:
        """`form` for the values of a run; None where every value is its own form."""
        plain_text = self.kind == "text" and self.rule.text in (None, "exact")
        as_it_is = self.rule.empty == "apart" and (plain_text or self.kind not in _FORMS)
        return None if as_it_is else self.form


def _text(leaf: Leaf, value: JSON) -> JSON:
    how = leaf.rule.text
    if value.__class__ is str:
        value = next((group[0] for group in leaf.rule.alike if value in group), value)
    if value.__class__ is not str or how is None or how == "exact":
        return value
    text = unicodedata.normalize("NFKC", value)
    if how == "blanks":
        return " ".join(text.split())
    if how == "letters":
        return "".join(one for one in text.casefold() if one.isalnum())
    return text.casefold()


def _money(leaf: Leaf, value: JSON) -> JSON:
    """An amount at the scale of its currency: what lies beyond it is nothing that could be paid."""
    if value.__class__ is not dict or not number(value.get("amount")):
        return value
    currency = value.get("currency")
    return {"amount": at_scale(Decimal(value["amount"]), currency), "currency": currency}


def at_scale(amount: Decimal, currency: JSON) -> Decimal:
    """The amount in whole minor units of its currency, half even; as it is where that is no currency."""
    unit = _unit(str(currency))
    return amount if unit is None else amount.quantize(unit, ROUND_HALF_EVEN, context=EXACT)


@lru_cache(512)
def _unit(currency: str) -> Decimal | None:
    """The minor unit of a currency; None for what is none."""
    try:
        return Decimal(1).scaleb(-minor_digits(currency))
    except ValueError:
        return None


def _instant(leaf: Leaf, value: JSON) -> JSON:
    moment = _moment(value)
    return value if moment is None else moment.isoformat()


def _list(leaf: Leaf, value: JSON) -> JSON:
    if value.__class__ is not list:
        return value
    formed = [_text(leaf, one) for one in value]
    return sorted(formed, key=canonical_json) if leaf.kind == "set" else formed


def _elements(leaf: Leaf, value: JSON) -> JSON:
    """Elements, in the order of their keys where they have some, each with the forms of what is compared of it."""
    if value.__class__ is not list:
        return value
    rows = [[_forms(leaf.keys, one), _forms(leaf.inner, one)] for one in value]
    return sorted(rows, key=canonical_json) if leaf.keys else rows


def _forms(leaves: Sequence[Leaf], record: JSON) -> list[JSON]:
    return [leaf.form(leaf.pick(record)) for leaf in leaves]


_FORMS = {"text": _text, "money": _money, "instant": _instant, "list": _list, "set": _list, "elements": _elements}


# ---------------------------------------------------------------------- where forms differ
def differences(leaf: Leaf, left: JSON, right: JSON) -> Iterator[Difference]:
    """What differs between two values of a field; nothing where a tolerance covers it or a side says nothing."""
    for value in (left, right):
        why = fault_of(value)
        if why is not None:
            yield Difference(leaf.path, left, right, why)
            return
    if leaf.rule.empty == "apart" and (left == SILENT or right == SILENT):
        return
    one, other = leaf.form(left), leaf.form(right)
    if same(one, other):
        return
    if leaf.kind == "elements" and left.__class__ is list and right.__class__ is list:
        yield from _of_elements(leaf, left, right)
    elif not _within(leaf, one, other):
        yield Difference(leaf.path, left, right, _why(leaf, left, right))


def _within(leaf: Leaf, left: JSON, right: JSON) -> bool:
    """Whether the field's tolerance covers the difference. Amounts of two currencies are never near each other."""
    tolerance = leaf.rule.tolerance
    if tolerance is None:
        return False
    if leaf.kind == "money" and left.__class__ is dict and right.__class__ is dict:
        if left.get("currency") != right.get("currency") or left.get("currency") is None:
            return False
        left, right = left.get("amount"), right.get("amount")
    if number(left) and number(right):
        return isinstance(tolerance, Decimal) and abs(Decimal(left) - Decimal(right)) <= tolerance
    if isinstance(tolerance, timedelta) and leaf.kind in ("date", "instant"):
        here, there = _moment(left), _moment(right)
        return here is not None and there is not None and abs(here - there) <= tolerance
    return False


def _moment(value: JSON) -> datetime | None:
    """A date or an instant as a moment; None for what is neither."""
    if value.__class__ is not str:
        return None
    if len(value) != len("2026-01-31"):
        return zoned_moment(value)
    try:
        return datetime.combine(date.fromisoformat(value), datetime.min.time())
    except ValueError:
        return None


def _why(leaf: Leaf, left: JSON, right: JSON) -> str | None:
    """What two unlike values do not say by themselves."""
    empties = {None: "null", "": "blank"}
    if all(one is None or (one.__class__ is str and not one.strip()) for one in (left, right)):
        told = [empties.get(one, "blank") for one in (left, right)]
        return f"{told[0]} and {told[1]}: write `blank: clear` in the mapping, or `empty: same` here, if they mean the same"
    if leaf.kind == "money" and left.__class__ is dict and right.__class__ is dict:
        here, there = left.get("currency"), right.get("currency")
        if here != there:
            return "one amount has no currency" if here is None or there is None else "the currencies differ"
    if left.__class__ is str and right.__class__ is str and _folded(left) == _folded(right):
        return "only case or blanks differ: see `text` under `compare` if they mean the same"
    return None


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def folded(value: JSON) -> JSON:
    """A key without case and blanks, deep in lists: what typing differently does not change."""
    if value.__class__ is list:
        return [folded(one) for one in value]
    return _folded(value) if value.__class__ is str else value


def _of_elements(leaf: Leaf, left: list[JSON], right: list[JSON]) -> Iterator[Difference]:
    """Element by element: by key, those of a key in their order; without keys by their place."""
    here, there = _keyed(leaf, left), _keyed(leaf, right)
    for key in dict.fromkeys([*here, *there]):
        pairs = zip_longest(here.get(key, ()), there.get(key, ()), fillvalue=SILENT)
        for nth, (mine, theirs) in enumerate(pairs, 1):
            place = f"{leaf.path}[{key.decode()}]" + (f"[{nth}]" if nth > 1 else "")
            if mine == SILENT or theirs == SILENT:
                yield Difference(place, mine, theirs, "only one side has this element")
                continue
            for inner in leaf.inner:
                for found in differences(inner, inner.pick(mine), inner.pick(theirs)):
                    yield found._replace(path=f"{place}.{found.path}")


def _keyed(leaf: Leaf, elements: list[JSON]) -> dict[bytes, list[JSON]]:
    found: dict[bytes, list[JSON]] = {}
    for place, one in enumerate(elements):
        forms = _forms(leaf.keys, one)
        key = canonical_json(forms[0] if len(forms) == 1 else forms) if leaf.keys else str(place).encode()
        found.setdefault(key, []).append(one)
    return found
