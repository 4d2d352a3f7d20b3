"""What people without clearance are not shown: fields that a schema calls sensitive, in every shape of a record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from engine.run.disclosure import MASK as MASK
from engine.run.disclosure import sensitive as sensitive
from engine.sdk.errors import CrosswalkError, Position
from engine.sdk.record import Fields
from engine.spec.workspace import Workspace
from engine.state.exceptions import Row

EVERYTHING = frozenset("*")


def in_system(workspace: Workspace, mapping: str, hidden: set[str]) -> frozenset[str]:
    """Top-level fields of a system's record that give or get the hidden ones, by its mapping.

    Everything, where the mapping can no longer be read: what cannot be told is not shown.
    """
    if not hidden:
        return frozenset()
    try:
        model = workspace.document("mapping", mapping).model
        found: set[str] = set()
        for section in (model.fields, model.inbound or {}):
            for name in hidden & set(section):
                found |= set(_read_by(section[name]))
        for name, rule in (model.outbound or {}).items():
            if hidden & set(_read_by(rule)):
                found.add(name.split(".")[0])
        return frozenset(found)
    except CrosswalkError:
        return EVERYTHING


def _read_by(rule: Any) -> Iterator[str]:
    """Top-level names that a rule reads or writes on the other side."""
    from engine.compile.expression import compile_expression
    from engine.compile.template import compile_template

    texts = [rule.from_, rule.to, rule.each, rule.currency, *(rule.by or {}).values()]
    for text in texts:
        for one in text if isinstance(text, list) else [text]:
            if one is not None:
                yield from (path[0] for path in compile_expression(one, Position("mapping")).reads if path)
    if rule.template is not None:
        yield from compile_template(rule.template, Position("mapping")).reads
    for inner in (rule.fields or {}).values() if rule.each is None else ():
        yield from _read_by(inner)


def masked(record: Mapping[str, Any], hidden: Iterable[str]) -> Fields:
    """The record with hidden values replaced; nothing stays nothing."""
    names = frozenset(hidden)
    every = names == EVERYTHING
    return {name: MASK if (every or name in names) and value is not None else value for name, value in record.items()}


def snapshots_hidden(workspace: Workspace, row: Row) -> dict[str, Iterable[str]]:
    """What is masked in each snapshot of an exception: raw, canonical, payload."""
    try:
        canonical = sensitive(workspace, row.entity)
        flow = workspace.document("flow", row.flow).model
    except CrosswalkError:  # the documents have changed since and cannot be read
        return dict.fromkeys(("raw", "canonical", "payload"), EVERYTHING)
    target = next((one for one in flow.targets if (one.name or one.connection) == row.target), None)
    payload = in_system(workspace, target.mapping, canonical) if target else EVERYTHING
    return {"raw": in_system(workspace, flow.source.mapping, canonical), "canonical": canonical, "payload": payload}
