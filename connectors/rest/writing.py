"""Writes of a manifest: single requests side by side, or batches with an outcome for every item."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from connectors.rest.forms import forms_of, written_forms
from connectors.rest.shapes import body_of, expression, judge, search, told, wait_of
from engine.sdk.connector import Operation, Outcome, OutcomeState
from engine.sdk.errors import ConnectorError, Problem
from engine.sdk.http import Answer, Unanswered
from engine.sdk.manifest import ErrorRule, ObjectSpec
from engine.sdk.manifest_requests import BatchSpec, Id, WriteSpec
from engine.sdk.record import JSON, Fields

if TYPE_CHECKING:
    from connectors.rest.connector import RestConnector

_DONE: dict[str, OutcomeState] = {"create": "created", "update": "updated", "upsert": "created", "delete": "deleted"}
"""What success means; an upsert whose system does not say otherwise made the record (it was not known before)."""


GOOD = ("success", "ignore", "empty")


class Writer:
    """Writes to one object."""

    def __init__(self, connector: RestConnector, name: str) -> None:
        self.connector, self.name = connector, name
        self.spec: ObjectSpec = connector.spec(name)
        self.forms = forms_of(self.spec)
        self.stopped: ConnectorError | None = None

    def write(self, operations: Sequence[Operation]) -> list[Outcome]:
        """One outcome an operation, in the order given."""
        outcomes: dict[str, Outcome] = {}
        ready = [one for given in operations if (one := self._in_form(given, outcomes)) is not None]
        singles: list[Operation] = []
        for kind in ("create", "update", "upsert", "delete", "append"):
            group = [one for one in ready if one.kind == kind]
            batch = self.spec.batch.get(kind)  # type: ignore[call-overload]
            if batch is not None and len(group) > 1:
                for start in range(0, len(group), batch.size):
                    outcomes.update(self._batch(batch, group[start : start + batch.size]))
            else:
                singles += group
        limit = max(1, self.connector.config.limits.concurrency)
        if len(singles) > 1 and limit > 1:
            with ThreadPoolExecutor(max_workers=min(limit, len(singles)), thread_name_prefix="write") as pool:
                outcomes.update((one.id, one) for one in pool.map(self._single, singles))
        else:
            outcomes.update((one.id, self._single(one)) for one in singles)
        found = [outcomes[one.id] for one in operations]
        if self.stopped is not None and all(_is(one.problem, self.stopped.problem) for one in found):
            raise self.stopped  # nothing was taken: the run fails, no record is to blame
        return found

    def _stop(self, one: Operation, error: ConnectorError) -> Outcome:
        """Credentials were refused: that is no fault of the record, and the others need not be tried."""
        self.stopped = error
        return Outcome(one.id, "retry", one.key, problem=error.problem)

    def _in_form(self, one: Operation, outcomes: dict[str, Outcome]) -> Operation | None:
        """The operation with values as the system writes them; None, and an outcome, where one cannot be."""
        if not self.forms:
            return one
        try:
            changes = written_forms(self.forms, one.changes) if one.changes is not None else None
            return replace(one, record=written_forms(self.forms, one.record), changes=changes)
        except ValueError as error:
            problem = Problem("C544", str(error), None, "correct the record, or round it in the mapping")
            outcomes[one.id] = Outcome(one.id, "refused", one.key, problem=problem)
            return None

    def marked(self, one: Operation) -> Fields:
        """The record with Crosswalk's mark where the object has a place for it."""
        marker = self.spec.marker
        if marker is None or one.mark is None or one.kind not in ("create", "upsert"):
            return one.record
        value = one.mark if marker.write is None else body_of(marker.write, {"mark": one.mark}, self.connector.values)
        return {**one.record, marker.field: value}

    def _spec_for(self, one: Operation) -> WriteSpec | None:
        kind = "create" if one.kind == "append" else one.kind
        found: WriteSpec | None = getattr(self.spec, kind)
        return found

    def _single(self, one: Operation) -> Outcome:
        spec = self._spec_for(one)
        if spec is None:
            problem = Problem("C540", f"{self.name} takes no {one.kind}", None, "see `connectors describe`")
            return Outcome(one.id, "refused", one.key, problem=problem)
        if self.stopped is not None:
            return self._stop(one, self.stopped)
        record = self.marked(one)
        parts = {"record": without(record, spec.omit), "changes": one.changes if one.changes is not None else record,
                 "key": one.key, "mark": one.mark}  # fmt: skip
        values = {**self.connector.values, **_texts(record), "key": one.key, "mark": one.mark,
                  **({self.spec.key[0]: one.key} if one.key else {})}  # fmt: skip
        headers = dict(spec.headers)
        if self.spec.idempotency and one.idempotency_key:
            headers[self.spec.idempotency.header] = one.idempotency_key
        if spec.if_match and one.version:
            headers["If-Match"] = one.version
        try:
            body = body_of(spec.body, parts, values) if spec.body is not None else None
            url = self.connector.address(spec, values)
            answer = self.connector.send(spec.method, url, body=body, headers=headers, send_by=one.send_by)
        except Unanswered as error:
            return Outcome(
                one.id, "in_doubt" if error.sent else "retry", one.key, problem=error.problem, wait=error.wait
            )
        except ConnectorError as error:  # nothing was sent: no token, an open breaker, a path without a value
            if error.trouble == "auth":
                return self._stop(one, error)
            state: OutcomeState = "retry" if error.transient else "refused"
            return Outcome(one.id, state, one.key, problem=error.problem, wait=error.wait)
        return self._outcome(one, spec, answer, record)

    def _outcome(self, one: Operation, spec: WriteSpec, answer: Answer, record: Fields) -> Outcome:
        do, rule = judge(self.connector.manifest, answer, record)
        wait = wait_of(rule, answer)
        if do in GOOD:
            key = self._id(spec.id, answer) or one.key
            state = _DONE.get(one.kind, "created")
            if one.kind == "upsert" and spec.created is not None and search(spec.created, answer.facts()) is not True:
                state = "updated"
            version = search(spec.version, answer.facts()) if spec.version else answer.headers.get("etag")
            return Outcome(one.id, state, key, version)
        return self._failed(one, do, rule, answer, wait, told(self.connector.manifest, answer))

    def _failed(
        self, one: Operation, do: str, rule: ErrorRule | None, answer: Answer, wait: float | None, message: str
    ) -> Outcome:
        if do == "matched":
            found = search(rule.id, answer.facts()) if rule and rule.id else None
            if found:
                return Outcome(one.id, "matched", str(found))
            do = "refused"
        if do in ("refresh_then_retry", "fatal"):
            code = "C521" if answer.status in (401, 403) else "C531"
            problem = Problem(
                code, f"connection {self.connector.context.name!r}: {message}", None, "see the system's message"
            )
            return self._stop(one, ConnectorError("auth" if code == "C521" else "refused", problem))
        if do == "rate_limited":
            self.connector.client.budget.pause(wait or 1.0)
        states: dict[str, OutcomeState] = {"retry": "retry", "rate_limited": "retry", "missing": "missing", "in_doubt": "in_doubt",
                                           "refused": "refused"}  # fmt: skip
        state = states[do]
        if state == "missing" and one.kind not in ("update", "delete"):
            state = "refused"
        code = "C542" if answer.status in (409, 412, 428) else "C541"
        if answer.status == 412:
            state = "conflict"
        return Outcome(
            one.id,
            state,
            one.key,
            problem=Problem(code, message, None, "correct the record, then replay it"),
            wait=wait,
        )

    def _id(self, spec: Id | None, answer: Answer) -> str | None:
        if spec is None:
            return None
        found = expression(spec.from_).search(answer.facts())
        if found is None:
            return None
        return str(found).rstrip("/").rsplit("/", 1)[-1] if spec.take == "last_segment" else str(found)

    # ------------------------------------------------------------------ batches
    def _batch(self, spec: BatchSpec, group: list[Operation]) -> dict[str, Outcome]:
        """One request for many; a refusal of the whole request is told as such, so that the engine can halve it."""
        if self.stopped is not None:
            return {one.id: self._stop(one, self.stopped) for one in group}
        records = [self._item(spec, one) for one in group]
        parts: dict[str, JSON] = {"records": records, "ids": [one.key for one in group]}
        params = {"ids": ",".join(one.key or "" for one in group)} if "{ids}" in spec.path else {}
        send_by = min((one.send_by for one in group if one.send_by is not None), default=None)
        try:
            body = body_of(spec.body, parts, self.connector.values) if spec.body is not None else None
            url = self.connector.address(spec, params)
            answer = self.connector.send(spec.method, url, body=body, headers=spec.headers, send_by=send_by)
        except Unanswered as error:
            state: OutcomeState = "in_doubt" if error.sent else "retry"
            return {one.id: Outcome(one.id, state, one.key, problem=error.problem) for one in group}
        except ConnectorError as error:
            if error.trouble == "auth":
                return {one.id: self._stop(one, error) for one in group}
            if not error.transient:
                raise
            return {one.id: Outcome(one.id, "retry", one.key, problem=error.problem, wait=error.wait) for one in group}
        do, rule = judge(self.connector.manifest, answer)
        if do not in GOOD:
            message, wait = told(self.connector.manifest, answer), wait_of(rule, answer)
            failed = {one.id: self._failed(one, do, rule, answer, wait, message) for one in group}
            whole = Problem(
                "C560", f"the whole request was refused: {message}", None, "correct the record, then replay it"
            )
            return {
                id: Outcome(id, "refused", one.key, problem=whole) if one.state == "refused" and len(group) > 1 else one
                for id, one in failed.items()
            }
        results = search(spec.results, answer.facts())
        return self._results(spec, group, results if isinstance(results, list) else [])

    def _item(self, spec: BatchSpec, one: Operation) -> Fields:
        content = one.changes if one.kind == "update" and one.changes is not None else self.marked(one)
        values = {**self.connector.values, "key": one.key}
        return {**body_of(spec.item, {"key": one.key, "mark": one.mark}, values), **content}

    def _results(self, spec: BatchSpec, group: list[Operation], results: list[Any]) -> dict[str, Outcome]:
        outcomes: dict[str, Outcome] = {}
        if spec.by == "position":
            pairs = dict(zip([one.id for one in group], results, strict=False))
        else:
            known = {str(item.get(spec.by)): item for item in results if isinstance(item, dict)}
            pairs = {one.id: known[str(self.marked(one).get(spec.by))] for one in group
                     if str(self.marked(one).get(spec.by)) in known}  # fmt: skip
        for one in group:
            item = pairs.get(one.id)
            if item is None:
                problem = Problem("C543", "the answer says nothing of this record", None, "look at the system")
                outcomes[one.id] = Outcome(one.id, "in_doubt", one.key, problem=problem)
                continue
            if search(spec.ok, item) is True:
                state = _DONE.get(one.kind, "created")
                if one.kind == "upsert" and spec.created and search(spec.created, item) is not True:
                    state = "updated"
                found = search(spec.id, item) if spec.id else None
                outcomes[one.id] = Outcome(one.id, state, str(found) if found else one.key)
            else:
                outcomes[one.id] = self._refused(one, spec, item)
        return outcomes

    def _refused(self, one: Operation, spec: BatchSpec, item: Any) -> Outcome:
        """An item's own failure, judged by the manifest's rules as if it were an answer."""
        text = str(search(spec.error, item) or "refused")
        answer = Answer(400, {}, item, text)
        do, rule = judge(self.connector.manifest, answer, one.record)
        return self._failed(one, do if do != "success" else "refused", rule, answer, None, text)


def _is(one: Problem | None, other: Problem) -> bool:
    return one is not None and (one.code, one.message) == (other.code, other.message)


def without(record: Fields, names: list[str]) -> Fields:
    return {name: value for name, value in record.items() if name not in names} if names else record


def _texts(record: Fields) -> dict[str, str]:
    """Fields that can stand in a path."""
    return {
        name: str(value)
        for name, value in record.items()
        if isinstance(value, (str, int)) and not isinstance(value, bool)
    }
