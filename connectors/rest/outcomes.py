"""What an answer, or one item of an answer for many, means for an operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from connectors.rest.shapes import id_of, judge, search, told, wait_of
from engine.sdk.connector import Operation, Outcome, OutcomeState
from engine.sdk.errors import ConnectorError, Problem, Trouble
from engine.sdk.http import Answer, Unanswered
from engine.sdk.manifest import ErrorRule
from engine.sdk.manifest_jobs import JobResults
from engine.sdk.manifest_requests import BatchSpec, WriteSpec
from engine.sdk.record import JSON, Fields

if TYPE_CHECKING:
    from connectors.rest.writing import Writer

GOOD = ("success", "ignore", "empty")
DONE: dict[str, OutcomeState] = {"create": "created", "update": "updated", "upsert": "created", "delete": "deleted"}
"""What success means; an upsert whose system does not say otherwise made the record (it was not known before)."""
_REPLAY = "correct the record, then replay it"


def of_answer(
    writer: Writer,
    one: Operation,
    spec: WriteSpec | JobResults,
    answer: Answer,
    record: JSON = None,
    job: str | None = None,
) -> Outcome:
    """The outcome of a request for one operation."""
    do, rule = judge(writer.connector.manifest, answer, record)
    if do not in GOOD:
        return failed(writer, one, do, rule, answer, told(writer.connector.manifest, answer), job)
    facts = answer.facts()
    where = spec.version if isinstance(spec, WriteSpec) else None
    version = search(where, facts) if where else answer.headers.get("etag")
    key = id_of(spec.id, answer)
    if key is None and spec.id is not None and one.kind == "create" and do == "success":
        return _nameless(one, job)
    return _done(one, key, spec.created, facts, str(version) if version else None)


def of_item(writer: Writer, one: Operation, spec: BatchSpec | JobResults, item: Any, job: str | None = None) -> Outcome:
    """The outcome that one item of an answer tells; a failure is judged by the manifest's rules as an answer would be."""
    facts = item if isinstance(item, dict) else {}
    if search(spec.ok, facts) is True:
        key = id_of(spec.id, Answer(200, {}, item, ""), item=True)
        if key is None and spec.id is not None and one.kind == "create":
            return _nameless(one, job)
        return _done(one, key, spec.created, facts, None)
    text = str(search(spec.error, facts) or "refused")
    status = search(spec.status, facts) if isinstance(spec, BatchSpec) and spec.status else 400
    body = search(spec.answer, facts) if isinstance(spec, BatchSpec) and spec.answer else item
    answer = Answer(int(status) if str(status).isdigit() else 400, {}, body, text)
    do, rule = judge(writer.connector.manifest, answer, one.record)
    return failed(writer, one, "refused" if do in GOOD else do, rule, answer, text, job)


def _nameless(one: Operation, job: str | None) -> Outcome:
    """A create that passed without an id is in doubt: without the id it could be created a second time."""
    problem = Problem("C543", "the answer names no id", None, "see `id` of the manifest, and look at the system")
    return Outcome(one.id, "in_doubt", one.key, problem=problem, job=job)


def _done(one: Operation, key: str | None, created: str | None, facts: Fields, version: str | None) -> Outcome:
    state = DONE.get(one.kind, "created")
    if one.kind == "upsert" and created is not None and search(created, facts) is not True:
        state = "updated"
    return Outcome(one.id, state, key or one.key, version)


def unanswered(one: Operation, error: Unanswered) -> Outcome:
    """The outcome of a request without an answer: in doubt once it may have been sent."""
    if error.sent:
        return Outcome(one.id, "in_doubt", one.key, problem=error.problem, wait=error.wait)
    if not error.transient:  # an address or header that is never sent: only the record or its mapping can be mended
        return Outcome(one.id, "refused", one.key, problem=error.problem)
    trouble = None if error.problem.code == "C515" else error.trouble  # our own lateness says nothing of the system
    return Outcome(one.id, "retry", one.key, problem=error.problem, wait=error.wait, trouble=trouble)


def failed(
    writer: Writer, one: Operation, do: str, rule: ErrorRule | None, answer: Answer, message: str, job: str | None = None
) -> Outcome:  # fmt: skip
    """The outcome of what did not succeed."""
    wait = wait_of(rule, answer)
    if do == "matched":
        found = search(rule.id, answer.facts()) if rule and rule.id else None
        if found:
            return Outcome(one.id, "matched", str(found))
        do = "refused"
    if do in ("refresh_then_retry", "fatal"):
        code = "C521" if answer.status in (401, 403) else "C531"
        problem = Problem(
            code, f"connection {writer.connector.context.name!r}: {message}", None, "see the system's message"
        )
        return writer.stop(one, ConnectorError("auth" if code == "C521" else "refused", problem))
    trouble: Trouble | None = None
    if do == "rate_limited":
        writer.connector.client.slow_down(wait)
        do, trouble = "retry", "rate_limited"
    states: dict[str, OutcomeState] = {
        "retry": "retry",
        "missing": "missing",
        "in_doubt": "in_doubt",
        "refused": "refused",
    }
    state = states[do]
    if state == "missing" and one.kind not in ("update", "delete"):
        state = "refused"
    if answer.status == 412:
        state = "conflict"
    code = "C542" if answer.status in (409, 412, 428) else "C541"
    return Outcome(one.id, state, one.key, problem=Problem(code, message, None, _REPLAY), wait=wait, job=job,
                   trouble=trouble)  # fmt: skip
