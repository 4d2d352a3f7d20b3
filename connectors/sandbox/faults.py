"""Faults of the fakes: a script of what goes wrong, decided by a seed, journaled. A fault never depends on which thread came first."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from fnmatch import fnmatchcase
from random import Random
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypeVar

from pydantic import Field

from connectors.sandbox import server
from connectors.sandbox.server import Handle, Reply, Request
from connectors.sandbox.store import LAG
from engine.sdk.config import Config, Duration, Percent

if TYPE_CHECKING:
    from connectors.sandbox.sandbox import Sandbox

T = TypeVar("T")
Kind: TypeAlias = Literal[
    "busy", "error", "slow", "cut", "partial", "reorder", "stale", "expire", "shift", "cap", "any"
]
HARMLESS: tuple[dict[str, Any], ...] = (
    {"do": "busy", "wait": timedelta()}, {"do": "busy"}, {"do": "error", "status": 500}, {"do": "error", "status": 502},
    {"do": "error", "status": 503}, {"do": "error", "status": 502, "when": "after"}, {"do": "cut"},
    {"do": "cut", "when": "after"}, {"do": "slow", "seconds": timedelta(milliseconds=50)}, {"do": "expire"},
)  # fmt: skip
"""What `any` draws from: everything that a real system may do to any request."""
READS = ("/query", "/suiteql")
"""Ends of paths of searches that are sent with POST."""


class Rule(Config):
    """One line of a script: which requests it is for, and what becomes of them. All conditions hold together."""

    do: Kind
    """busy (429 or the system's own words), error, slow, cut (no answer), partial and reorder (results of a batch),
    stale (a read that does not see the last writes), expire (tokens end), shift (a row moves to the end of lists),
    cap (a list is cut short), any (one of those that may befall every request)."""
    system: str | None = None
    """Only this system."""
    method: str | None = None
    """Only this method."""
    path: str = "*"
    """Only paths of this pattern; `*` stands for any text."""
    nth: int | list[int] | None = None
    """Only these of the requests that fit, counted from 1."""
    chance: Percent | None = None
    """Only this share of the requests that fit, by the seed."""
    times: int | None = Field(None, ge=1)
    """No more often than this."""
    when: Literal["before", "after"] = "before"
    """For `error` and `cut`: before the system did anything, or after it had done it all."""
    status: int = Field(503, ge=400, le=599)
    """For `error`."""
    wait: Duration | None = None
    """For `busy`: what Retry-After says; without it there is none."""
    seconds: Duration = timedelta(seconds=1)
    """For `slow`: how long. For `stale`: how old what is read is."""
    rows: int = Field(1, ge=1)
    """For `partial`: results that are missing. For `cap`: rows that are left."""
    object: str | None = None
    """For `shift`: the object whose first row moves."""


class Fault(NamedTuple):
    """A fault that was made."""

    seq: int
    at: str
    system: str
    method: str
    path: str
    what: str


class Faults:
    """A script at work. seed: decides `chance` and `any`, the same way for the same requests."""

    def __init__(self, sandbox: Sandbox, rules: Sequence[Rule], seed: int) -> None:
        self.sandbox, self.rules, self.seed = sandbox, list(rules), seed
        self._fit: Counter[int] = Counter()
        self._made: Counter[int] = Counter()
        self._same: Counter[bytes] = Counter()
        self._lock = Lock()

    def between(self, system: str) -> server.Faults:
        """What stands between the wire and a fake."""

        def answer(request: Request, handle: Handle) -> Reply | None:
            rule = self._chosen(system, request)
            if rule is None:
                return handle(request)
            self.sandbox.store.note_fault(system, request.method, request.path, told(rule))
            return self._make(rule, system, request, handle)

        return answer

    def _chosen(self, system: str, request: Request) -> Rule | None:
        """The first rule that a request fits."""
        with self._lock:
            again = self._again(system, request)
            for number, rule in enumerate(self.rules):
                if not _fits(rule, system, request):
                    continue
                self._fit[number] += 1
                draw = Random(hashlib.blake2b(again + f"{self.seed} {number}".encode(), digest_size=8).digest())  # noqa: S311
                if not self._due(rule, number, draw):
                    continue
                self._made[number] += 1
                if rule.do == "any":
                    return rule.model_copy(update=draw.choice(HARMLESS))
                return rule
        return None

    def _again(self, system: str, request: Request) -> bytes:
        """What tells a request from others, and how often it came: no matter in what order different ones come."""
        said = f"{system} {request.method} {request.path} {sorted(request.query.items())}".encode()
        print_ = hashlib.blake2b(said + request.data, digest_size=16).digest()
        self._same[print_] += 1
        return print_ + self._same[print_].to_bytes(4, "big")

    def _due(self, rule: Rule, number: int, draw: Random) -> bool:
        if rule.times is not None and self._made[number] >= rule.times:
            return False
        wanted = [rule.nth] if isinstance(rule.nth, int) else rule.nth
        if wanted is not None and self._fit[number] not in wanted:
            return False
        return rule.chance is None or draw.random() < float(rule.chance)

    def _make(self, rule: Rule, system: str, request: Request, handle: Handle) -> Reply | None:
        match rule.do:
            case "busy":
                return _busy(system, rule.wait)
            case "error" | "cut":
                if rule.when == "after":
                    handle(request)
                return _broken(rule.status) if rule.do == "error" else None
            case "slow":
                time.sleep(rule.seconds.total_seconds())
            case "expire":
                self.sandbox.expire_tokens(system)
            case "shift":
                self._shift(system, str(rule.object))
            case "stale":
                token = LAG.set(rule.seconds.total_seconds())
                try:
                    return handle(request)
                finally:
                    LAG.reset(token)
        reply = handle(request)
        if rule.do in ("partial", "reorder", "cap"):
            return Reply(reply.status, _changed(rule, reply.body), reply.headers)
        return reply

    def _shift(self, system: str, object: str) -> None:
        """The row that was changed longest ago is touched: it goes to the end, and all others move up by one."""
        ids = self.sandbox.store.ids(system, object, order="modified")
        if ids:
            self.sandbox.set(system, object, ids[0], {})


def told(rule: Rule) -> str:
    """A fault in a few words."""
    match rule.do:
        case "error":
            return f"error {rule.status} {rule.when}"
        case "cut":
            return f"cut {rule.when}"
        case "busy":
            return "busy" if rule.wait is None else f"busy, wait {rule.wait.total_seconds():g} s"
        case "slow" | "stale":
            return f"{rule.do} {rule.seconds.total_seconds():g} s"
        case _:
            return rule.do


def _fits(rule: Rule, system: str, request: Request) -> bool:
    if rule.system not in (None, system) or not fnmatchcase(request.path, rule.path):
        return False
    if rule.do in ("stale", "cap", "shift") and rule.method is None:
        return request.method == "GET" or request.path.endswith(READS)
    if rule.do in ("partial", "reorder") and rule.method is None:
        return request.method != "GET" and not request.path.endswith(READS)
    return rule.method in (None, request.method)


def _busy(system: str, wait: timedelta | None) -> Reply:
    """Too many requests, in the system's own words."""
    headers = {} if wait is None else {"Retry-After": f"{wait.total_seconds():g}"}
    match system:
        case "salesforce":
            body: Any = [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}]
            return Reply(403, body, headers)
        case "netsuite":
            detail = {"detail": "Concurrency limit exceeded.", "o:errorCode": "CONCURRENCY_LIMIT_EXCEEDED"}
            return Reply(429, {"status": 429, "title": "Too Many Requests", "o:errorDetails": [detail]}, headers)
        case _:
            return Reply(429, {"errors": [{"type": "system", "message": "Rate limit exceeded"}]}, headers)


def _broken(status: int) -> Reply:
    """What a proxy in front of the system answers: a page, no JSON."""
    return Reply(status, f"<html><h1>{status}</h1></html>".encode(), {"Content-Type": "text/html"})


def _changed(rule: Rule, body: Any) -> Any:
    """The answer with its list of results or rows cut short or turned round; an answer without one stays as it is."""
    if isinstance(body, list):
        if rule.do == "reorder":
            return body[::-1]
        return body[: -rule.rows] if rule.do == "partial" else body[: rule.rows]
    if isinstance(body, dict):
        for name in ("records", "results", "items"):
            if isinstance(body.get(name), list):
                return {**body, name: _changed(rule, body[name])}
    return body


def rules_of(script: Iterable[Mapping[str, Any]]) -> list[Rule]:
    """A script as rules. Raises pydantic.ValidationError."""
    return [Rule.model_validate(dict(one)) for one in script]


def deliveries(events: Sequence[T], seed: int, *, again: float = 0.1, lost: float = 0.0, late: int = 5) -> Iterator[T]:
    """Webhooks as they arrive: some twice, some never, and each up to `late` places after its turn."""
    draw = Random(seed)  # noqa: S311 - repeatable, not secret
    arrivals: list[tuple[float, int, T]] = []
    for number, event in enumerate(events):
        if draw.random() < lost:
            continue
        for _ in range(2 if draw.random() < again else 1):
            arrivals.append((number + draw.random() * late, len(arrivals), event))
    yield from (event for _, _, event in sorted(arrivals, key=lambda one: one[:2]))
