"""Writes through a job of the system: opened, filled, started, polled, and answered row by row.

The job's id travels with every outcome that is not known, so that its rows can be looked up instead of sent twice.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from connectors.rest.media import csv_body
from connectors.rest.outcomes import of_answer, of_item
from connectors.rest.shapes import Refusal, body_of, correlated, id_of, judge, search, told, wait_of
from engine.sdk.connector import Operation, Outcome
from engine.sdk.errors import ConnectorError, Problem
from engine.sdk.http import Answer, Unanswered
from engine.sdk.manifest_jobs import JobResults, JobSpec
from engine.sdk.manifest_requests import Request
from engine.sdk.record import JSON, Fields

if TYPE_CHECKING:
    from connectors.rest.writing import Writer

Outcomes = dict[str, Outcome]


class Unprocessed(Exception):
    """The system holds a job that it will not start: no row of it was processed. Carries what is to be told."""

    def __init__(self, problem: Problem, *, whole: bool = False, wait: float | None = None) -> None:
        super().__init__(problem.message)
        self.problem, self.whole, self.wait = problem, whole, wait


class Job:
    """One job for some operations of one kind."""

    def __init__(self, writer: Writer, spec: JobSpec, group: Sequence[Operation]) -> None:
        self.writer, self.connector, self.spec, self.group = writer, writer.connector, spec, list(group)
        self.values = {**self.connector.values, "object": writer.name}
        self.id: str | None = None
        self.over = False

    def run(self) -> Outcomes:
        """An outcome for every operation."""
        rows = [self.row(one) for one in self.group]
        try:
            self._open(rows)
            self._fill(rows)
            self._start()
        except Unprocessed as error:
            return self._untouched(error)
        except Unanswered as error:
            if self.id is None:
                return self._unknown(error.problem)
        except ConnectorError as error:
            if error.trouble == "auth":
                return {one.id: self.writer.stop(one, error) for one in self.group}
            return self._untouched(Unprocessed(error.problem, wait=error.wait))
        return self.outcomes()

    def resumed(self, *, uploaded: bool) -> Outcomes | None:
        """What became of a job that another process opened; None while it goes on."""
        poll = self.spec.poll
        answer = self.connector.answered(poll.method, self._url(poll), headers=poll.headers)
        if poll.waits is not None and search(poll.waits, answer.facts()) is True:
            if not uploaded:
                problem = Problem("C545", f"job {self.id} never got its rows", None, "they are sent again")
                return self._untouched(Unprocessed(problem))
            try:
                self._start()  # the rows are there, and start but once
            except (Unprocessed, ConnectorError):
                return None
        found = self.outcomes()
        return found if self.over else None

    def outcomes(self) -> Outcomes:
        """What became of a job whose id is known."""
        try:
            failed = self._wait()
            found: Outcomes = {}
            for results in self.spec.results:
                found = {**self._rows(results), **found}
            self.over = True
        except ConnectorError as error:
            return self._unknown(error.problem)
        missing = failed or Problem("C543", f"job {self.id} says nothing of this record", None, "look at the system")
        return {one.id: found.get(one.id) or self._doubtful(one, missing) for one in self.group}

    def row(self, one: Operation) -> Fields:
        """A record as the job holds it."""
        content = one.changes if one.kind == "update" and one.changes is not None else self.writer.marked(one)
        values = {**self.connector.values, "key": one.key}
        return {**body_of(self.spec.item, {"key": one.key, "mark": one.mark, "id": one.id}, values), **content}

    # ------------------------------------------------------------------ steps
    def _open(self, rows: list[Fields]) -> None:
        spec = self.spec.open
        body = body_of(spec.body, {"records": rows}, self.values) if spec.body is not None else None
        answer = self._sent(spec, body=body, sends_rows=self.spec.upload is None)
        self.id = id_of(spec.id, answer)
        if self.id is None:
            problem = Problem("C543", "the answer names no job", None, "see `open.id` of the manifest's job")
            raise Unanswered("bad_response", problem, sent=True)
        self._told(uploaded=self.spec.upload is None)

    def _told(self, *, uploaded: bool) -> None:
        assert self.id is not None
        self.connector.context.opened(self.writer.name, self.id, [one.id for one in self.group], uploaded)

    def _fill(self, rows: list[Fields]) -> None:
        if self.spec.upload is not None:
            try:
                data = csv_body(rows, self.spec.null)
            except ValueError as error:
                raise Unprocessed(
                    Problem("C544", str(error), None, "leave the field out of the mapping"), whole=True
                ) from None
            self._sent(self.spec.upload, data=data, sends_rows=False)
            self._told(uploaded=True)

    def _start(self) -> None:
        """From here on rows may be processed, whether or not the answer arrives."""
        if self.spec.start is not None:
            self._sent(self.spec.start, body=self.spec.start.body, sends_rows=True)

    def _sent(self, request: Request, *, body: JSON = None, data: bytes | None = None, sends_rows: bool) -> Answer:
        """A step that was taken. Raises Unprocessed, or Unanswered where rows may have been processed."""
        send_by = min((one.send_by for one in self.group if one.send_by is not None), default=None)
        url = self._url(request)
        try:
            answer = self.connector.send(
                request.method,
                url,
                body=body,
                data=data,
                headers={**correlated(self.group), **request.headers},
                send_by=send_by,
            )
        except Unanswered as error:
            if error.sent and sends_rows:
                raise
            raise Unprocessed(error.problem, wait=error.wait) from None
        do, rule = judge(self.connector.manifest, answer)
        if do == "success":
            return answer
        problem = Problem(
            "C560",
            f"the job was refused: {told(self.connector.manifest, answer)}",
            None,
            "correct the record, then replay it",
        )
        if do == "in_doubt" and sends_rows:
            raise Unanswered("server", problem, sent=True)
        if do in ("refresh_then_retry", "fatal"):
            raise ConnectorError("auth", Problem("C521", problem.message, None, "see the system's message"))
        passing = do in ("retry", "rate_limited", "in_doubt")
        raise Unprocessed(problem, whole=not passing, wait=wait_of(rule, answer) if passing else None)

    def _wait(self) -> Problem | None:
        """Poll until the job is over; a problem where it failed as a whole. Raises ConnectorError after its time."""
        poll = self.spec.poll
        end = time.monotonic() + poll.within.total_seconds()
        pause = poll.every.shortest.total_seconds()
        while True:
            answer = self.connector.answered(poll.method, self._url(poll), headers=poll.headers)
            facts = answer.facts()
            if search(poll.done, facts) is True:
                return None
            if poll.failed is not None and search(poll.failed, facts) is True:
                why = search(poll.message, facts) or "no reason given"
                return Problem("C545", f"job {self.id} failed: {why}", None, "see the job in the system")
            if time.monotonic() + pause > end:
                message = f"job {self.id} was not over within {poll.within}"
                raise ConnectorError(
                    "timeout",
                    Problem("C545", message, None, "see the job in the system; its rows may be written later"),
                )
            self.connector.client.budget.sleep(pause)
            pause = min(pause * 2, poll.every.longest.total_seconds())

    def _url(self, request: Request) -> str:
        return self.connector.address(request, {"job": self.id, "object": self.writer.name})

    # ------------------------------------------------------------------ results
    def _rows(self, results: JobResults) -> Outcomes:
        """Outcomes that one list of results tells."""
        url = self._url(results)
        answer = self.connector.answered(results.method, url, headers=results.headers, media=results.media)
        rows = search(results.rows, answer.facts())
        rows = rows if isinstance(rows, list) else []
        if results.by == "position":
            pairs: list[tuple[Operation, Any]] = list(zip(self.group, rows, strict=False))
        else:
            known = {str(search(results.by, row)): row for row in rows}
            keys = [(one, search(self.spec.by or results.by, self.row(one))) for one in self.group]
            pairs = [(one, known[str(key)]) for one, key in keys if str(key) in known]
        return {one.id: self._outcome(results, one, row) for one, row in pairs}

    def _outcome(self, results: JobResults, one: Operation, row: Any) -> Outcome:
        if results.state == "retry":
            problem = Problem("C545", f"job {self.id} did not come to this record", None, "it is tried again")
            return Outcome(one.id, "retry", one.key, problem=problem, job=self.id)
        if results.each is None:
            return of_item(self.writer, one, results, row, self.id)
        try:
            url = self.connector.address(
                Request(get=results.each),
                {"job": self.id, "object": self.writer.name, **{name: str(value) for name, value in row.items()}},
            )
            answer = self.connector.send("get", url)
        except (Unanswered, Refusal) as error:
            return self._doubtful(one, error.problem)
        return of_answer(self.writer, one, results, answer, job=self.id)

    def _doubtful(self, one: Operation, problem: Problem) -> Outcome:
        return Outcome(one.id, "in_doubt", one.key, problem=problem, job=self.id)

    def _unknown(self, problem: Problem) -> Outcomes:
        return {one.id: self._doubtful(one, problem) for one in self.group}

    def _untouched(self, error: Unprocessed) -> Outcomes:
        """No row was processed: to be halved where one of them may be the culprit, else to be sent again."""
        state: Any = "refused" if error.whole else "retry"
        return {
            one.id: Outcome(one.id, state, one.key, problem=error.problem, wait=error.wait, job=self.id)
            for one in self.group
        }
