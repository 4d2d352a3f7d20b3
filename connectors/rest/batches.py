"""Many writes in one request, with an outcome for each: by position, or by what a result says it is of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from connectors.rest.outcomes import GOOD, failed, of_item, unanswered
from connectors.rest.shapes import body_of, correlated, judge, search, told
from engine.sdk.connector import Operation, Outcome
from engine.sdk.errors import ConnectorError, Problem
from engine.sdk.http import Answer, Unanswered
from engine.sdk.manifest_requests import BatchSpec
from engine.sdk.record import JSON, Fields

if TYPE_CHECKING:
    from connectors.rest.writing import Writer

Outcomes = dict[str, Outcome]


def write_batch(writer: Writer, spec: BatchSpec, group: list[Operation]) -> Outcomes:
    """One request for the group; a refusal of the whole request is told as such, so that the engine can halve it."""
    if writer.stopped is not None:
        return {one.id: writer.stop(one, writer.stopped) for one in group}
    connector = writer.connector
    items = [_item(writer, spec, one, number) for number, one in enumerate(group)]
    parts: dict[str, JSON] = {"records": items, "ids": [one.key for one in group]}
    params = {"ids": ",".join(one.key or "" for one in group)} if "{ids}" in spec.path else {}
    send_by = min((one.send_by for one in group if one.send_by is not None), default=None)
    try:
        body = body_of(spec.body, parts, connector.values) if spec.body is not None else None
        url = connector.address(spec, params)
        answer = connector.send(
            spec.method, url, body=body, headers={**correlated(group), **spec.headers}, send_by=send_by
        )
    except Unanswered as error:
        return {one.id: unanswered(one, error) for one in group}
    except ConnectorError as error:
        if error.trouble == "auth":
            return {one.id: writer.stop(one, error) for one in group}
        if not error.transient:
            raise
        return {
            one.id: Outcome(one.id, "retry", one.key, problem=error.problem, wait=error.wait, trouble=error.trouble)
            for one in group
        }
    if judge(connector.manifest, answer)[0] not in GOOD:
        return _whole(writer, group, answer)
    return _each(writer, spec, group, items, answer)


def _whole(writer: Writer, group: list[Operation], answer: Answer) -> Outcomes:
    """The request as a whole did not pass."""
    do, rule = judge(writer.connector.manifest, answer)
    message = told(writer.connector.manifest, answer)
    found = {one.id: failed(writer, one, do, rule, answer, message) for one in group}
    if len(group) == 1:
        return found
    whole = Problem("C560", f"the whole request was refused: {message}", None, "correct the record, then replay it")
    culprit = ("refused", "missing", "conflict")  # of the request, not of every record in it
    return {
        id: Outcome(id, "refused", one.key, problem=whole) if one.state in culprit else one for id, one in found.items()
    }


def _item(writer: Writer, spec: BatchSpec, one: Operation, number: int) -> Fields:
    """A record as the request holds it: with what is added, or inside the whole item that the manifest writes."""
    record = writer.marked(one)
    changes = one.changes if one.kind == "update" and one.changes is not None else record
    parts: dict[str, JSON] = {
        "record": record,
        "changes": changes,
        "key": one.key,
        "mark": one.mark,
        "id": one.id,
        "n": str(number),
    }
    values = {**writer.connector.values, **writer.texts(record), "key": one.key, "mark": one.mark}
    item: Fields = body_of(spec.item, parts, values)
    return item if _holds(spec.item) else {**item, **changes}


def _holds(template: Any) -> bool:
    if isinstance(template, dict):
        return any(map(_holds, template.values()))
    return any(map(_holds, template)) if isinstance(template, list) else template in ("@record", "@changes")


def _each(writer: Writer, spec: BatchSpec, group: list[Operation], items: list[Fields], answer: Answer) -> Outcomes:
    """An outcome for each; what no result speaks of is in doubt."""
    facts = answer.facts()
    pairs = _paired(spec, items, _rows(search(spec.results, facts)), spec.match)
    if spec.errors is not None:
        pairs = {**pairs, **_paired(spec, items, _rows(search(spec.errors, facts)), spec.match_error or spec.match)}
    outcomes: Outcomes = {}
    for number, one in enumerate(group):
        if number in pairs:
            outcomes[one.id] = of_item(writer, one, spec, pairs[number])
            continue
        problem = Problem("C543", "the answer says nothing of this record", None, "look at the system")
        outcomes[one.id] = Outcome(one.id, "in_doubt", one.key, problem=problem)
    return outcomes


def _paired(spec: BatchSpec, items: list[Fields], rows: list[Any], match: str | None) -> dict[int, Any]:
    """Position of an item → its result. Results that could be of several items are of none."""
    if spec.by == "position":
        return dict(enumerate(rows[: len(items)]))
    known: dict[str, list[Any]] = {}
    for row in rows:
        known.setdefault(str(search(match or spec.by, row)), []).append(row)
    keys = [str(search(spec.by, item)) for item in items]
    return {
        number: known[key][0] for number, key in enumerate(keys)
        if len(known.get(key, ())) == 1 and keys.count(key) == 1
    }  # fmt: skip


def _rows(found: JSON) -> list[Any]:
    return found if isinstance(found, list) else []
