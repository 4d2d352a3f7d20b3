"""What a flow's test expects of a reconciliation, against the breaks that it left."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from engine.compile.reconcile import ReconcilePlan
from engine.run.fixture import Fixture
from engine.run.verdict import NOTHING, Difference, each_of, shown
from engine.sdk.record import JSON, Fields, decode_json, same
from engine.spec.load import Document
from engine.spec.testcase import ExpectedBreak
from engine.state import breaks
from engine.state.breaks import Break
from engine.state.store import Store

Path = tuple[Any, ...]


def judge_breaks(
    store: Store, plan: ReconcilePlan, fixture: Fixture, wanted: list[ExpectedBreak], document: Document, at: Path
) -> list[Difference]:
    """Every live break of the flow against what was expected, in any order."""
    with store.read() as tx:
        found = breaks.listed(tx, plan.name, states=breaks.LIVE)

    def compare(one: int, other: int) -> list[Difference] | None:
        told, (expected, got) = [], (wanted[one], found[other])
        for name, given, value, fits in _facts(expected, got, fixture, plan):
            if not fits:
                told.append(
                    Difference(
                        f"break {name}", shown(given), f"{shown(value)} ({_spoken(got)})", document.at(*at, one, name)
                    )
                )
        return told + _fields(expected, got, fixture, plan, document, (*at, one, "fields"))

    def missing(one: int) -> Difference:
        said = wanted[one].model_dump(exclude_none=True, by_alias=True)
        return Difference("break", shown(said), NOTHING, document.at(*at, one))

    def extra(other: int) -> Difference:
        return Difference("break", NOTHING, _spoken(found[other]), document.at(*at))

    return each_of(wanted, found, compare, missing, extra)


def _facts(one: ExpectedBreak, got: Break, fixture: Fixture, plan: ReconcilePlan) -> list[tuple[str, JSON, JSON, bool]]:
    """(name, expected, got, fits) of everything that was said, the fields apart."""
    amount = f"{got.amount} {got.currency}" if got.amount is not None else None
    said: list[tuple[str, JSON, JSON]] = [
        ("class", one.class_, got.name), ("label", one.label, got.label), ("cause", one.cause, got.cause), ("amount", one.amount, amount),
        ("queue", one.queue, got.queue), ("state", one.state, got.state),
    ]  # fmt: skip
    told = [(name, given, value, _plain(given) == _plain(value)) for name, given, value in said if given is not None]
    if one.why is not None:
        told.append(("why", one.why, got.why, one.why in (got.why or "")))
    if one.key is not None:
        told.append(("key", one.key, decode_json(got.key), _is_key(one.key, got, fixture, plan)))
    return told


def _plain(value: JSON) -> JSON:
    """`1.00 EUR` and `1 EUR` are one amount; other texts are as they are."""
    match = re.fullmatch(r"(-?\d+(?:\.\d+)?) ([A-Z]{3})", value) if isinstance(value, str) else None
    return (Decimal(match[1]), match[2]) if match else value


def _is_key(given: JSON, got: Break, fixture: Fixture, plan: ReconcilePlan) -> bool:
    """Whether a test means this break by a key: its values, else any id of the record."""
    key = decode_json(got.key)
    if plan.key:
        paths = [leaf.path for leaf in plan.key]
        values = given if isinstance(given, list) and len(paths) > 1 else [given]
        renamed = [_renamed(path, value, fixture, plan) for path, value in zip(paths, values, strict=False)]
        return same(renamed, key) or same(values, key)
    ids = {str(key), *(native for natives in got.natives.values() for native in natives)}
    return str(given) in ids or fixture.canonical_id((plan.schema.entity,), str(given)) == got.canonical_id


def _fields(
    one: ExpectedBreak, got: Break, fixture: Fixture, plan: ReconcilePlan, document: Document, at: Path
) -> list[Difference]:
    """What was expected to differ against what does."""
    if one.fields is None:
        return []
    sides = [side.name for side in plan.sides]
    values: dict[str, Fields] = {each["path"]: each["values"] for each in got.fields}
    told = []
    for path, given in one.fields.items():
        wanted = dict(zip(sides, given, strict=True)) if isinstance(given, list) else given
        wanted = {side: _renamed(path, value, fixture, plan) for side, value in wanted.items()}
        value = values.get(path)
        if value is None or any(side not in value or not same(wanted[side], value[side]) for side in wanted):
            told.append(
                Difference(path, shown(wanted), shown(value) if value is not None else NOTHING, document.at(*at, path))
            )
    left = {path: value for path, value in values.items() if path not in one.fields}
    return told + [Difference(path, NOTHING, shown(value), document.at(*at)) for path, value in left.items()]


def _renamed(path: str, value: JSON, fixture: Fixture, plan: ReconcilePlan) -> JSON:
    """A value with canonical ids where it refers to records of the test; of an element, whichever it is."""
    plain = re.sub(r"\[[^\]]*\]+", "[]", path.partition(" (")[0])
    return fixture.renamed(plan.schema.entity, {plain: value})[plain]


def _spoken(got: Break) -> str:
    differs = f": {', '.join(each['path'] for each in got.fields)}" if got.fields else ""
    return f"{got.name} {got.label or got.key}{differs}{f', {got.why}' if got.why else ''}"
