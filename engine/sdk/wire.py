"""One HTTP/1.1 exchange on one socket, with a deadline that a slow system cannot stretch.

The standard library reads status and body; headers are read here, within limits. Each `recv` has only the time that is
left, so bytes that drip in end with the deadline. What may have been sent is told apart from what surely was not.
"""

from __future__ import annotations

import http.client
import io
import re
import select
import socket
import ssl
import time
from collections.abc import Collection, Iterator, Mapping

from engine.sdk.addresses import connect

MAX_HEADERS = 65536
IDLE = 30.0
"""Seconds after which an unused connection is not trusted any more."""
_UNFIT = re.compile(r"[\x00-\x20\x7f]")
_BREAK = re.compile(r"[\r\n\x00]")


class NotSent(Exception):
    """No byte of the request left: the system cannot have processed it."""


class Broken(Exception):
    """The answer is no HTTP, or ended before it was whole."""


class _Timed(socket.SocketIO):
    """A socket's stream whose every read has the time that is left of the exchange."""

    deadline = 0.0

    def readinto(self, buffer: object) -> int | None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer took too long")
        self._sock.settimeout(left)  # type: ignore[attr-defined]
        return super().readinto(buffer)  # type: ignore[arg-type]


class Reply(http.client.HTTPResponse):
    """An answer whose headers are a dict with lower-case names; repeated ones are joined."""

    fields: dict[str, str]

    def __init__(self, sock: socket.socket, method: str, deadline: float) -> None:
        super().__init__(sock, method=method)
        self.fp.close()
        raw = _Timed(sock, "rb")
        raw.deadline = deadline
        sock._io_refs += 1  # type: ignore[attr-defined]  # as `makefile` counts them
        self.fp = io.BufferedReader(raw)

    def begin(self) -> None:
        """Status and headers. Raises Broken."""
        while True:
            version, status, reason = self._read_status()  # type: ignore[attr-defined]
            self.fields = self._headers()
            if not 100 <= status < 200:
                break
        self.code = self.status = status
        self.reason = reason.strip()
        self.version = 10 if version == "HTTP/1.0" else 11
        given = self.fields
        self.headers = self.msg = given  # type: ignore[assignment]
        self.chunked = given.get("transfer-encoding", "").lower() == "chunked"
        self.chunk_left = None
        kept = given.get("connection", "").lower()
        self.will_close = "close" in kept or (self.version == 10 and "keep-alive" not in kept)
        length = given.get("content-length")
        if length is not None and not length.isdigit():
            raise Broken(f"Content-Length is {length[:20]!r}")
        self.length = None if self.chunked or length is None else int(length)
        if status in (204, 304) or self._method == "HEAD":  # type: ignore[attr-defined]
            self.length, self.chunked = 0, False
        if self.length is None and not self.chunked:
            self.will_close = True

    def _headers(self) -> dict[str, str]:
        found: dict[str, str] = {}
        size = 0
        while (line := self.fp.readline(MAX_HEADERS + 1)) not in (b"\r\n", b"\n"):
            size += len(line)
            name, colon, value = line.partition(b":")
            if size > MAX_HEADERS or not colon or not line.endswith(b"\n"):
                raise Broken("its headers are too large" if size > MAX_HEADERS else "its headers broke off")
            key, text = name.decode("latin-1").lower(), value.strip().decode("latin-1")
            join = "\n" if key == "set-cookie" else ", "
            found[key] = f"{found[key]}{join}{text}" if key in found else text
        return found

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes. Raises Broken where it ends early, TimeoutError after the deadline."""
        try:
            while data := self.read1(65536):
                yield data
        except (http.client.HTTPException, ValueError) as error:
            raise Broken(f"the answer broke off ({type(error).__name__})") from None
        if self.length:
            raise Broken(f"the answer broke off, {self.length} bytes short")


class Wire:
    """A connection to one host, used for one exchange after another by one thread at a time."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, hosts: Collection[str]) -> None:
        self.host, self.port, self.tls, self.hosts = host, port, tls, hosts
        self.sock: socket.socket | None = None
        self.used = 0.0

    def open(self, deadline: float) -> None:
        """Connect, unless that is done. Raises ForbiddenAddress, OSError, ssl.SSLError."""
        if self.sock is not None and (time.monotonic() - self.used > IDLE or _dropped(self.sock)):
            self.close()
        if self.sock is None:
            made = connect(self.host, self.port, self.hosts, deadline)
            try:
                self.sock = self.tls.wrap_socket(made, server_hostname=self.host) if self.tls else made
            except BaseException:
                made.close()
                raise

    def exchange(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None, deadline: float
    ) -> Reply:
        """Send a request, read the answer's head. Raises NotSent, Broken, OSError."""
        sock = self.sock
        assert sock is not None
        data = request_bytes(method, target, self.authority, headers, body)
        sock.settimeout(max(0.001, deadline - time.monotonic()))
        sock.sendall(data)
        reply = Reply(sock, method, deadline)
        try:
            reply.begin()
        except BaseException as error:
            reply.close()
            if isinstance(error, http.client.RemoteDisconnected):
                raise Broken("the connection broke off") from None
            if isinstance(error, http.client.HTTPException):
                raise Broken(f"the answer is no HTTP ({type(error).__name__})") from None
            raise
        return reply

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    def close(self) -> None:
        if self.sock is not None:
            self.sock.close()
            self.sock = None


def request_bytes(method: str, target: str, authority: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """A whole request. Raises NotSent for names and values that would break out of their line."""
    if _UNFIT.search(target) or not target.isascii():
        raise NotSent("the address holds a blank or a control character; encode it")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {authority}"]
    for name, value in headers.items():
        if _BREAK.search(value) or _UNFIT.search(name) or ":" in name:
            raise NotSent(f"the header {name!r} holds a line break")
        lines.append(f"{name}: {value}")
    if body is not None or method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(body or b'')}")
    try:
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    except UnicodeEncodeError:
        raise NotSent("a header holds characters that headers cannot") from None
    return head + body if body else head


def _dropped(sock: socket.socket) -> bool:
    """Whether the other side has closed, or has said something that nobody asked for."""
    poller = select.poll()
    poller.register(sock, select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poller.poll(0))
