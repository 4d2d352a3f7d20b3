"""Between a manifest's words and requests: templates of bodies, records out of answers, instants, error rules."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape
from zoneinfo import ZoneInfo

import jmespath

from engine.sdk.budget import waiting_time
from engine.sdk.connector import Operation
from engine.sdk.errors import ConnectorError, Problem
from engine.sdk.http import Answer
from engine.sdk.manifest import ErrorRule, Manifest
from engine.sdk.manifest_requests import Id, Keyed
from engine.sdk.record import JSON, Fields
from engine.sdk.urls import shown

CORRELATION = "X-Correlation-ID"


class Refusal(ConnectorError):
    """A reading request that was answered, but not with what was asked for. do: what the answer was taken for."""

    def __init__(self, trouble: Any, problem: Problem, do: str, wait: float | None) -> None:
        super().__init__(trouble, problem, wait=wait)
        self.do = do


@cache
def expression(text: str) -> Any:
    """A compiled manifest expression."""
    return jmespath.compile(text)


def search(text: str | None, facts: Mapping[str, JSON]) -> JSON:
    """The value of a manifest expression; None where there is none."""
    return None if text is None else expression(text).search(facts)


def correlated(operations: Sequence[Operation]) -> dict[str, str]:
    """The header that tells a system what a call belongs to: the records' correlation, or the run where they have several."""
    known = {one.correlation for one in operations if one.correlation}
    text = known.pop() if len(known) == 1 else next((one.run for one in operations if one.run), None) if known else None
    return {CORRELATION: text} if text and text.isascii() and text.isprintable() else {}


def filled(text: str, values: Mapping[str, Any], *, path: bool = False) -> str:
    """Text with `{name}` put in; in paths percent-encoded, in XML escaped. Raises ConnectorError C522 for an unknown name."""

    markup = text.lstrip().startswith("<")

    def put(match: re.Match[str]) -> str:
        name = match[1]
        if values.get(name) is None:
            raise ConnectorError(
                "config", Problem("C522", f"{{{name}}} has no value", None, "give it in the connection")
            )
        value = str(values[name])
        return quote(value, safe="") if path else escape(value) if markup else value

    return re.sub(r"\{([A-Za-z_][A-Za-z0-9_.]*)\}", put, text)


def body_of(template: JSON, parts: Mapping[str, JSON], values: Mapping[str, Any]) -> JSON:
    """A body template with `@record`, `@changes`, `@records`, `@ids`, `@key`, `@mark` and `{settings}` put in."""
    if isinstance(template, str):
        if template.startswith("@") and template[1:] in parts:
            return parts[template[1:]]
        return filled(template, values) if "{" in template else template
    if isinstance(template, dict):
        return {name: body_of(item, parts, values) for name, item in template.items()}
    return [body_of(item, parts, values) for item in template] if isinstance(template, list) else template


def records_of(how: str | Keyed, answer: Answer, *, empty: bool = False) -> list[Fields]:
    """The records of an answer; none where it is known to be `empty`. Raises ConnectorError C530 where they are not there."""
    if empty:
        return []
    facts = answer.facts()
    if isinstance(how, Keyed):
        order, found = search(how.order, facts), search(how.map, facts)
        if isinstance(order, list) and isinstance(found, dict):
            return [found[one["key"]][str(one["id"])] for one in order]
        value = None
    else:
        value = search(how, facts)
        if isinstance(value, dict):
            value = [value]
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        where = how if isinstance(how, str) else how.order
        raise ConnectorError("bad_response", Problem("C530", f"the answer has no records at {where!r}", None,
                                                     "see the manifest's `records`"))  # fmt: skip
    return value


def instant(text: JSON, zone: str) -> str | None:
    """A system's instant as RFC 3339 in UTC with microseconds, so that instants order as text."""
    if not isinstance(text, str) or not text:
        return None
    fixed = re.sub(r"([+-]\d{2})(\d{2})$", r"\1:\2", text.replace("Z", "+00:00"))
    try:
        moment = datetime.fromisoformat(fixed)
    except ValueError:
        return text
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(zone))
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def judge(manifest: Manifest, answer: Answer, record: JSON = None) -> tuple[str, ErrorRule | None]:
    """What an answer means: the first rule of the manifest that holds, else by its status."""
    facts = answer.facts(record)
    for rule in manifest.errors:
        if search(rule.when, facts) is True:
            return rule.do, rule
    status = answer.status
    if status < 300:
        return "success", None
    defaults = {401: "refresh_then_retry", 404: "missing", 410: "missing", 408: "in_doubt", 429: "rate_limited"}
    return defaults.get(status, "in_doubt" if status >= 500 else "refused"), None


def told(manifest: Manifest, answer: Answer) -> str:
    """What the system says is wrong, in one line."""
    if 300 <= answer.status < 400 and answer.headers.get("location"):
        return f"it redirects to {shown(answer.headers['location'])}; redirects are not followed, write the address it means"
    found = search(manifest.message, answer.facts())
    if isinstance(found, list):
        found = "; ".join(str(one) for one in found if one)
    detail = f": {answer.text[:200]}" if answer.text and not answer.body else ""
    return " ".join((str(found) if found else f"status {answer.status}{detail}").split())[:500]


def wait_of(rule: ErrorRule | None, answer: Answer) -> float | None:
    """Seconds to wait before the next try, where the answer says it."""
    own = waiting_time(search(rule.wait, answer.facts()), rule.wait_in) if rule and rule.wait else None
    return own if own is not None else waiting_time(answer.headers.get("retry-after"))


def id_of(spec: Id | None, answer: Answer, *, item: bool = False) -> str | None:
    """The id that an answer holds (or, for an `item`, its body), where the manifest says."""
    found = expression(spec.from_).search(answer.body if item else answer.facts()) if spec is not None else None
    if spec is None or found is None:
        return None
    return str(found).split("?")[0].rstrip("/").rsplit("/", 1)[-1] if spec.take == "last_segment" else str(found)
