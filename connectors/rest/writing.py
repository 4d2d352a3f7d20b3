"""Writes of a manifest: single requests side by side, or batches with an outcome for every item."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from connectors.rest.batches import write_batch
from connectors.rest.forms import forms_of, written_forms
from connectors.rest.jobs import Job
from connectors.rest.outcomes import of_answer, unanswered
from connectors.rest.shapes import body_of, correlated
from engine.sdk.connector import Operation, Outcome, OutcomeState
from engine.sdk.errors import ConnectorError, Problem
from engine.sdk.http import Unanswered
from engine.sdk.manifest import ObjectSpec
from engine.sdk.manifest_requests import WriteSpec
from engine.sdk.record import Fields

if TYPE_CHECKING:
    from connectors.rest.connector import RestConnector


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
            batch, job = self.spec.batch.get(kind), self.spec.jobs.get(kind)  # type: ignore[call-overload]
            if job is not None and len(group) >= job.above:
                for start in range(0, len(group), job.size):
                    outcomes.update(Job(self, job, group[start : start + job.size]).run())
            elif batch is not None and len(group) > 1:
                for start in range(0, len(group), batch.size):
                    outcomes.update(write_batch(self, batch, group[start : start + batch.size]))
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

    def stop(self, one: Operation, error: ConnectorError) -> Outcome:
        """Credentials were refused: that is no fault of the record, and the others need not be tried."""
        self.stopped = error
        return Outcome(one.id, "retry", one.key, problem=error.problem, trouble=error.trouble)

    def of_job(self, job: str, operations: Sequence[Operation], *, uploaded: bool) -> list[Outcome] | None:
        """What became of operations that a job of the system holds. Raises ConnectorError C540 without jobs of their kind."""
        found: dict[str, Outcome] = {}
        operations = [self._in_form(one, found) or one for one in operations]
        found.clear()
        for kind in dict.fromkeys(one.kind for one in operations):
            spec = self.spec.jobs.get(kind)  # type: ignore[arg-type]
            if spec is None:
                raise ConnectorError(
                    "config", Problem("C540", f"{self.name} has no jobs that {kind}", None, "see the manifest's `jobs`")
                )
            resumed = Job(self, spec, [one for one in operations if one.kind == kind])
            resumed.id = job
            given = resumed.resumed(uploaded=uploaded)
            if given is None:
                return None
            found |= given
        return [found[one.id] for one in operations]

    @staticmethod
    def texts(record: Fields) -> dict[str, str]:
        """Fields that can stand in a path."""
        return {
            name: str(value)
            for name, value in record.items()
            if isinstance(value, (str, int)) and not isinstance(value, bool)
        }

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
            return self.stop(one, self.stopped)
        record = self.marked(one)
        parts = {"record": without(record, spec.omit), "changes": one.changes if one.changes is not None else record,
                 "key": one.key, "mark": one.mark}  # fmt: skip
        values = {**self.connector.values, **self.texts(record), "key": one.key, "mark": one.mark,
                  **({self.spec.key[0]: one.key} if one.key else {})}  # fmt: skip
        headers = {**correlated([one]), **spec.headers}
        if self.spec.idempotency and one.idempotency_key:
            headers[self.spec.idempotency.header] = one.idempotency_key
        if spec.if_match and one.version:
            headers["If-Match"] = one.version
        try:
            body = body_of(spec.body, parts, values) if spec.body is not None else None
            url = self.connector.address(spec, values)
            answer = self.connector.send(spec.method, url, body=body, headers=headers, send_by=one.send_by)
        except Unanswered as error:
            return unanswered(one, error)
        except ConnectorError as error:  # nothing was sent: no token, an open breaker, a path without a value
            if error.trouble == "auth":
                return self.stop(one, error)
            state: OutcomeState = "retry" if error.transient else "refused"
            trouble = error.trouble if error.transient else None
            return Outcome(one.id, state, one.key, problem=error.problem, wait=error.wait, trouble=trouble)
        return of_answer(self, one, spec, answer, record)


def _is(one: Problem | None, other: Problem) -> bool:
    return one is not None and (one.code, one.message) == (other.code, other.message)


def without(record: Fields, names: list[str]) -> Fields:
    return {name: value for name, value in record.items() if name not in names} if names else record
