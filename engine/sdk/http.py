"""HTTP for connectors: bounded, without redirects, one budget an account, clear about what was sent.

A request that may have reached the system and has no answer raises with `sent=True`; one that surely did not, with
`sent=False`. Reads are retried here; writes never are.
"""

from __future__ import annotations

import random
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urljoin

from engine.sdk.account import Permits
from engine.sdk.addresses import ForbiddenAddress, host_of
from engine.sdk.bodies import json_of
from engine.sdk.budget import shared_budget
from engine.sdk.clock import boot
from engine.sdk.config import ConnectionConfig, Rate
from engine.sdk.errors import ConnectorError, Problem
from engine.sdk.record import JSON
from engine.sdk.urls import shown, target
from engine.sdk.wire import Broken, NotSent, Reply, Wire

MAX_BODY = 64 * 2**20
MAX_RATIO = 100
SLOWEST = 1024
"""Bytes a second below which an answer is given up, once it has taken ten seconds."""
_HINTS = {
    "C510": "see that the address is right and the system runs",
    "C512": "see the system's certificate; a private authority goes under `ca`",
    "C514": "ask for smaller pages",
    "C515": "nothing was sent: run it again",
    "C516": "is that a login or an error page? see the address and the credentials",
    "C518": "write the system's own address",
}


class Unanswered(ConnectorError):
    """No usable answer. sent: whether the request may have been processed."""

    def __init__(self, trouble: Any, problem: Problem, *, sent: bool) -> None:
        super().__init__(trouble, problem)
        self.sent = sent


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: status, headers with lower-case names, decoded body (None where it is empty or cannot be decoded)."""

    status: int
    headers: Mapping[str, str]
    body: JSON
    text: str

    def facts(self, record: JSON = None) -> dict[str, JSON]:
        """What manifest expressions see."""
        return {"status": self.status, "headers": dict(self.headers), "body": self.body, "record": record}


Decode = Callable[[str, bytes], JSON]
"""(content type in lower case, body) → value. Raises ValueError where the body is not what was asked for."""


class HttpClient:
    """Requests to one origin. hosts: names that may lead to private addresses. ca: file of further authorities."""

    def __init__(
        self, name: str, base: str, config: ConnectionConfig, *, rate: Rate | None, concurrency: int,
        hosts: Collection[str] = (), ca: str | None = None, permits: Permits | None = None,
    ) -> None:  # fmt: skip
        self.name, self.config = name, config
        self.base = base.rstrip("/")
        try:
            self.host, self.port, tls = host_of(self.base)
        except ForbiddenAddress as error:
            raise self._unanswered("config", "C518", f"{shown(self.base)} is not called: {error}", sent=False) from None
        self._prefix = f"{'/'.join(self.base.split('/')[:3])}/"
        self.hosts = frozenset(hosts)
        self.tls = ssl.create_default_context(cafile=None) if tls else None
        if self.tls is not None:
            self.tls.minimum_version = ssl.TLSVersion.TLSv1_2
            if ca is not None:
                self.tls.load_verify_locations(ca)
        self.budget = shared_budget(
            self.host, self.port, config.limits.requests or rate, min(concurrency, config.limits.concurrency), config.breaker,
            permits, config.timeout.total_seconds(),
        )  # fmt: skip
        self.after: Callable[[Answer], None] = lambda answer: None
        self._idle: list[Wire] = []
        self._lock = threading.Lock()

    def slow_down(self, wait: float | None) -> None:
        """The system refused a request for its rate: nobody calls the account for so many seconds, and slower then."""
        shortest = self.config.backoff.shortest.total_seconds()
        self.budget.pause(min(1.0, shortest) if wait is None else wait, refused=True)

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for wire in idle:
            wire.close()
        self.budget.rest()

    def url(self, path: str, params: Mapping[str, Any] | None = None) -> str:
        """A path (or a link of the same origin) as an address. Raises ConnectorError C511 for another origin."""
        url = path if "://" in path or path.startswith("//") else f"{self.base}/{path.lstrip('/')}"
        self._ours(url)
        pairs = [(key, value) for key, value in (params or {}).items() if value is not None]
        return f"{url}{'&' if '?' in url else '?'}{urlencode(pairs, doseq=True)}" if pairs else url

    def link(self, text: str, at: str) -> str:
        """A link of an answer as an address; relative ones start from the address that gave it. Raises C511."""
        url = urljoin(at, text)
        self._ours(url)
        return url

    def _ours(self, url: str) -> None:
        if not self.same_origin(url):
            raise ConnectorError("bad_response", Problem(
                "C511", f"connection {self.name!r}: a link leads to another host, {shown(url)}", None,
                "links must stay with the system; see the manifest's `page`",
            ))  # fmt: skip

    def same_origin(self, url: str) -> bool:
        """Whether an address has our scheme, host and port."""
        try:
            host, port, tls = host_of(url)
        except (ForbiddenAddress, ValueError):
            return False
        return (host.lower(), port, tls) == (self.host.lower(), self.port, self.tls is not None)

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, send_by: float | None = None,
        decode: Decode | None = None,
    ) -> Answer:  # fmt: skip
        """One request, one answer. Raises Unanswered, and ConnectorError where the system is not called now: C517, C519."""
        if not url.startswith(self._prefix) and not self.same_origin(url):
            raise self._unanswered("config", "C511", f"{shown(url)} is another host", sent=False)
        self.budget.admit(self.name)
        if not self.budget.take(self.name, self.config.backoff.longest.total_seconds(), send_by):
            raise self._too_late()
        try:
            end = time.monotonic() + self.config.timeout.total_seconds()
            try:
                answer = self._exchange(method.upper(), url, headers, body, send_by, end, decode or json_of)
            except Unanswered as error:
                if error.problem.code != "C515":  # our own lateness says nothing of the system
                    self.budget.note(good=False)
                raise
            self.budget.note(good=answer.status < 500)
        finally:
            self.budget.give()
        self.after(answer)
        return answer

    def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, send_by: float | None, end: float,
        decode: Decode,
    ) -> Answer:  # fmt: skip
        self._in_time(send_by)
        wire = self._wire(end)
        good = False
        try:
            self._in_time(send_by)  # connecting takes time, too
            try:
                sent = {"Accept-Encoding": "gzip, identity", "User-Agent": "crosswalk", **headers}
                with wire.exchange(method, target(url), sent, body, end) as reply:
                    status, given, data = self._body(reply, end)
            except NotSent as error:
                raise self._unanswered("config", "C518", str(error), sent=False) from None
            except (Broken, OSError, zlib.error) as error:
                trouble, why = "timeout", str(error) if isinstance(error, Broken) else _why(error)
                raise self._unanswered(trouble, "C513", f"no whole answer: {why}", sent=True) from None
            good = not reply.will_close
        finally:
            self._keep(wire) if good else wire.close()
        return self._answer(status, given, data, decode)

    def _in_time(self, send_by: float | None) -> None:
        if send_by is not None and boot() > send_by:
            raise self._too_late()

    def _too_late(self) -> Unanswered:
        return self._unanswered("timeout", "C515", "it was too late to send", sent=False)

    def _wire(self, end: float) -> Wire:
        """An open connection, an idle one first. Raises Unanswered with sent=False."""
        with self._lock:
            wire = self._idle.pop() if self._idle else Wire(self.host, self.port, self.tls, self.hosts)
        try:
            wire.open(end)
        except ForbiddenAddress as error:
            raise self._unanswered("config", "C518", str(error), sent=False) from None
        except ssl.SSLError as error:
            raise self._unanswered("unreachable", "C512", f"TLS failed: {_why(error)}", sent=False) from None
        except (OSError, UnicodeError) as error:
            where = f"{self.host}:{self.port}"
            raise self._unanswered(
                "unreachable", "C510", f"{where} cannot be reached ({_why(error)})", sent=False
            ) from None
        return wire

    def _keep(self, wire: Wire) -> None:
        wire.used = time.monotonic()
        with self._lock:
            self._idle.append(wire)

    def _unanswered(self, trouble: Any, code: str, message: str, *, sent: bool) -> Unanswered:
        problem = Problem(code, f"connection {self.name!r}: {message}", None, _HINTS.get(code, "try again"))
        return Unanswered(trouble, problem, sent=sent)

    def _body(self, reply: Reply, end: float) -> tuple[int, dict[str, str], bytes]:
        """The body under limits of size, ratio and time."""
        headers = reply.fields
        coding = headers.get("content-encoding", "identity").strip().lower()
        inflate = zlib.decompressobj(31) if coding == "gzip" else None
        if inflate is None and coding not in ("identity", ""):
            raise self._unanswered("bad_response", "C514", f"the answer is packed as {coding[:40]!r}", sent=True)
        if reply.length is not None and reply.length > MAX_BODY:
            raise self._too_large(f"{reply.length:,} bytes")
        parts, packed, size, start = [], 0, 0, time.monotonic()
        for chunk in reply.chunks():
            packed += len(chunk)
            data = inflate.decompress(chunk, MAX_BODY + 1 - size) if inflate else chunk
            size += len(data)
            parts.append(data)
            if size > MAX_BODY or (inflate and size > 2**20 and size > MAX_RATIO * packed):
                raise self._too_large(f"over {size:,} bytes")
            now = time.monotonic()
            if now > end or (now - start > 10 and packed / (now - start) < SLOWEST):
                raise Broken("the answer came too slowly")
        if inflate is not None and packed and not inflate.eof:
            raise Broken("the packed answer broke off")
        return reply.status, headers, b"".join(parts)

    def _too_large(self, how: str) -> Unanswered:
        return self._unanswered(
            "bad_response", "C514", f"the answer is larger than is allowed ({how}, not {MAX_BODY:,})", sent=True
        )

    def _answer(self, status: int, headers: dict[str, str], data: bytes, decode: Decode) -> Answer:
        text, body = data[:2000].decode("utf-8", "replace"), None
        if data:
            try:
                body = decode(headers.get("content-type", "").lower(), data)
            except ValueError as error:
                if status < 300:
                    cut = "truncated" in str(error)  # a stream that died: reading again may help
                    raise self._unanswered(
                        "timeout" if cut else "bad_response", "C516", f"the answer is {error}", sent=True
                    ) from None
        return Answer(status, headers, body, text)

    def retried(self, call: Callable[[], Answer]) -> Answer:
        """A read, tried again while that may help: backoff with full jitter, or as long as the system says.

        A wait beyond the connection's longest backoff, or an open breaker, ends the read instead: the run is parked.
        """
        backoff, before = self.config.backoff, None
        for attempt in range(self.config.retries + 1):
            try:
                return call()
            except ConnectorError as error:
                wait = error.wait or 0.0
                over = wait > backoff.longest.total_seconds() or error.problem.code == "C517"
                if error.problem.code == "C517" and before is not None:
                    raise before from None  # why the breaker opened says more than that it did
                if not error.transient or over or attempt == self.config.retries:
                    raise
                before = error
                longest = min(backoff.longest.total_seconds(), backoff.shortest.total_seconds() * 2**attempt)
                self.budget.sleep(wait + random.uniform(0, longest))  # noqa: S311 - jitter, not a secret
        raise AssertionError("unreachable")


def _why(error: Exception) -> str:
    """What an error says, without addresses or credentials."""
    if isinstance(error, socket.gaierror):
        return "the name is not known"
    if isinstance(error, TimeoutError):
        return "it took longer than `timeout`"
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.lower()
    if isinstance(error, ssl.SSLError):
        return (error.reason or "no TLS").lower().replace("_", " ")
    text = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return text.lower()
