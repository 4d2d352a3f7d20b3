"""HTTP for connectors, on urllib3: bounded, without redirects, one budget an account, clear about what was sent.

A request that may have reached the system and has no answer raises with `sent=True`; one that surely did not, with
`sent=False`. Reads are retried here; writes never are.
"""

from __future__ import annotations

import random
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationParseError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    SSLError,
)
from urllib3.exceptions import (
    TimeoutError as TimeoutFault,
)

from engine.sdk.config import ConnectionConfig, Rate
from engine.sdk.errors import ConnectorError, Problem
from engine.sdk.record import JSON, decode_json, encode_json

MAX_BODY = 64 * 2**20
MAX_RATIO = 100
SLOWEST = 1024
"""Bytes a second below which an answer is given up, once it has taken ten seconds."""


class Unanswered(ConnectorError):
    """No usable answer. sent: whether the request may have been processed."""

    def __init__(self, trouble: Any, problem: Problem, *, sent: bool) -> None:
        super().__init__(trouble, problem)
        self.sent = sent


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: status, headers with lower-case names, decoded body (None where it is empty or no JSON)."""

    status: int
    headers: Mapping[str, str]
    body: JSON
    text: str

    def facts(self, record: JSON = None) -> dict[str, JSON]:
        """What manifest expressions see."""
        return {"status": self.status, "headers": dict(self.headers), "body": self.body, "record": record}


class Budget:
    """At most so many requests in a time, and at once."""

    def __init__(self, rate: Rate | None, concurrency: int, sleep: Callable[[float], None] = time.sleep) -> None:
        self.rate, self.sleep = rate, sleep
        self._slots = threading.BoundedSemaphore(concurrency)
        self._lock = threading.Lock()
        self._times: list[float] = []
        self._until = 0.0

    def pause(self, seconds: float) -> None:
        """Nobody sends before so many seconds have passed (429)."""
        with self._lock:
            self._until = max(self._until, time.monotonic() + seconds)

    def __enter__(self) -> None:
        self._slots.acquire()
        while (wait := self._wait()) > 0:
            self.sleep(wait)

    def __exit__(self, *_: Any) -> None:
        self._slots.release()

    def _wait(self) -> float:
        now = time.monotonic()
        with self._lock:
            if self._until > now:
                return self._until - now
            if self.rate is not None:
                start = now - self.rate.per.total_seconds()
                self._times = [one for one in self._times if one > start]
                if len(self._times) >= self.rate.count:
                    return self._times[0] - start
                self._times.append(now)
        return 0.0


class HttpClient:
    """Requests to one origin."""

    def __init__(self, name: str, base: str, config: ConnectionConfig, *, rate: Rate | None, concurrency: int) -> None:
        self.name, self.config = name, config
        self.base = base.rstrip("/")
        self.budget = Budget(config.limits.requests or rate, min(concurrency, config.limits.concurrency))
        self._pool = urllib3.PoolManager(
            num_pools=4, maxsize=max(concurrency, 4), block=False, retries=False, ssl_minimum_version=771
        )

    def close(self) -> None:
        self._pool.clear()

    def url(self, path: str, params: Mapping[str, Any] | None = None) -> str:
        """A path (or a link of the same origin) as an address. Raises ConnectorError C511 for another origin."""
        url = (
            path if "://" in path else urljoin(f"{self.base}/", path.lstrip("/")) if not path.startswith("//") else path
        )
        if urlsplit(url)[:2] != urlsplit(self.base)[:2]:
            raise ConnectorError("bad_response", Problem(
                "C511", f"connection {self.name!r}: a link leads to another host, {urlsplit(url).netloc}", None,
                "links must stay with the system; see the manifest's `page`",
            ))  # fmt: skip
        pairs = [(key, value) for key, value in (params or {}).items() if value is not None]
        return f"{url}{'&' if '?' in url else '?'}{urlencode(pairs, doseq=True)}" if pairs else url

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, send_by: float | None = None
    ) -> Answer:
        """One request, one answer. Raises Unanswered."""
        limit = self.config.timeout.total_seconds()
        with self.budget:
            if send_by is not None and time.monotonic() > send_by:
                raise self._unanswered("timeout", "C515", "it was too late to send", sent=False)
            end = time.monotonic() + limit
            try:
                response = self._pool.urlopen(
                    method.upper(), url, body=body, headers={"Accept-Encoding": "gzip, identity", **headers},
                    redirect=False, preload_content=False, decode_content=False,
                    timeout=urllib3.Timeout(connect=min(limit, 10), read=limit),
                )  # fmt: skip
            except (
                NewConnectionError,
                NameResolutionError,
                ConnectTimeoutError,
                LocationParseError,
                MaxRetryError,
            ) as error:
                host = urlsplit(url).netloc
                raise self._unanswered(
                    "unreachable", "C510", f"{host} cannot be reached ({_why(error)})", sent=False
                ) from None
            except SSLError as error:
                raise self._unanswered("unreachable", "C512", f"TLS failed: {_why(error)}", sent=False) from None
            except (HTTPError, OSError) as error:
                raise self._unanswered("timeout", "C513", f"no answer: {_why(error)}", sent=True) from None
            return self._read(response, end)

    def _unanswered(self, trouble: Any, code: str, message: str, *, sent: bool) -> Unanswered:
        hints = {"C510": "see that the address is right and the system runs", "C512": "see the address and the system's certificate",
                 "C514": "ask for less at once, or see what stands before the system", "C515": "nothing was sent: run it again",
                 "C516": "see that the address is the API's, and not a page for people"}  # fmt: skip
        return Unanswered(
            trouble,
            Problem(code, f"connection {self.name!r}: {message}", None, hints.get(code, "try again")),
            sent=sent,
        )

    def _read(self, response: Any, end: float) -> Answer:
        """The body under limits of size, ratio and time."""
        headers = {name.lower(): value for name, value in response.headers.items()}
        coding = headers.get("content-encoding", "identity").strip().lower()
        inflate = zlib.decompressobj(31) if coding == "gzip" else None
        if inflate is None and coding not in ("identity", ""):
            raise self._unanswered("bad_response", "C514", f"the answer is packed as {coding!r}", sent=True)
        parts, packed, size, start = [], 0, 0, time.monotonic()
        try:
            for chunk in response.stream(65536, decode_content=False):
                packed += len(chunk)
                data = inflate.decompress(chunk, MAX_BODY + 1 - size) if inflate else chunk
                size += len(data)
                parts.append(data)
                now = time.monotonic()
                if size > MAX_BODY or (inflate and size > 2**20 and size > MAX_RATIO * packed):
                    raise self._unanswered("bad_response", "C514", "the answer is larger than is allowed", sent=True)
                if now > end or (now - start > 10 and packed / (now - start) < SLOWEST):
                    raise self._unanswered("timeout", "C513", "the answer came too slowly", sent=True)
        except (HTTPError, OSError, zlib.error) as error:
            raise self._unanswered("timeout", "C513", f"the answer broke off: {_why(error)}", sent=True) from None
        finally:
            response.release_conn()
        return self._answer(response.status, headers, b"".join(parts))

    def _answer(self, status: int, headers: dict[str, str], data: bytes) -> Answer:
        text = data[:2000].decode("utf-8", "replace")
        kind = headers.get("content-type", "")
        body: JSON = None
        if data and ("json" in kind or data[:1] in b"{["):
            try:
                body = decode_json(data)
            except ValueError as error:
                if status < 400:
                    raise self._unanswered(
                        "bad_response", "C516", f"the answer is not JSON: {error}", sent=True
                    ) from None
        elif data and status < 400:
            raise self._unanswered("bad_response", "C516", f"the answer is {kind or 'of no type'}, not JSON", sent=True)
        return Answer(status, headers, body, text)

    def retried(self, call: Callable[[], Answer]) -> Answer:
        """A read, tried again while that may help: backoff with full jitter, or as long as the system says."""
        for attempt in range(self.config.retries + 1):
            try:
                return call()
            except ConnectorError as error:
                if not error.transient or attempt == self.config.retries:
                    raise
                longest = min(self.config.backoff.longest.total_seconds(),
                              self.config.backoff.shortest.total_seconds() * 2**attempt)  # fmt: skip
                self.budget.sleep(max(error.wait or 0, random.uniform(0, longest)))  # noqa: S311 - jitter, not a secret
        raise AssertionError("unreachable")


def _why(error: Exception) -> str:
    """The end of a chain of errors, without addresses or credentials."""
    inner = next((one for one in error.args if isinstance(one, Exception)), error)
    reason = getattr(error, "reason", None) or error.__cause__ or inner
    if isinstance(reason, ssl.SSLCertVerificationError):
        return reason.verify_message.lower()
    if isinstance(reason, ssl.SSLError):
        return str(reason.reason or "it does not speak TLS").replace("_", " ").lower()
    if isinstance(error, ProtocolError) or isinstance(reason, ConnectionError):
        return "connection refused" if isinstance(reason, ConnectionRefusedError) else "the connection broke off"
    if isinstance(error, TimeoutError | TimeoutFault) or isinstance(reason, TimeoutError):
        return "it took longer than `timeout`"
    text = reason.strerror if isinstance(reason, OSError) and reason.strerror else type(reason).__name__
    return text.lower()


def json_body(value: JSON) -> bytes:
    """A request's body."""
    return encode_json(value)
