"""HTTP for the fakes: one threaded server a system, requests handed to one function, answers sent in one piece."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

from connectors.sandbox.journal import HEADERS
from engine.sdk.record import decode_json, encode_json


@dataclass(frozen=True, slots=True)
class Request:
    """A request as handlers see it: raw path, query parameters, headers with lower-case names, whole address."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    data: bytes
    url: str

    @property
    def parts(self) -> list[str]:
        """The path's segments, each decoded: an escaped slash stays inside its segment."""
        return [unquote(part) for part in self.path.split("/") if part]

    def json(self) -> Any:
        """The body as JSON, {} where there is none. Raises ValueError."""
        return decode_json(self.data) if self.data else {}

    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.data.decode(), keep_blank_values=True))


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. body: JSON value, or bytes with their own content type."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


Handle: TypeAlias = Callable[[Request], Reply]
Faults: TypeAlias = Callable[[Request, Handle], "Reply | None"]
"""Stands between the wire and the fake: may answer itself, call the fake before or after, or give None to hang up."""


class Server:
    """A fake system on a loopback port. `faults` sees every request first."""

    def __init__(self, name: str, handle: Handle, port: int = 0, latency: float = 0.0) -> None:
        self.name, self.handle, self.latency = name, handle, latency
        self.faults: Faults | None = None
        self._server = _Listener(("127.0.0.1", port), _handler(self))
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name=f"sandbox {name}", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, request: Request) -> Reply | None:
        """The reply to a request, None to hang up without one."""
        if self.latency:
            time.sleep(self.latency)
        token = HEADERS.set(request.headers)
        try:
            return self.handle(request) if self.faults is None else self.faults(request, self.handle)
        finally:
            HEADERS.reset(token)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no fault; anything else is told on stderr."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        timeout = 30

        def do(self) -> None:
            parts = urlsplit(self.path)
            request = Request(
                self.command, parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)),
                {name.lower(): value for name, value in self.headers.items()}, _body(self), f"{server.url}{self.path}",
            )  # fmt: skip
            reply = server.answer(request)
            if reply is None:
                self.close_connection = True
                return
            body = reply.body
            data = body if isinstance(body, bytes) else b"" if body is None else encode_json(body)
            headers: dict[str, Any] = dict(reply.headers)
            if reply.status != 204:
                headers = {"Content-Type": "application/json;charset=UTF-8", **headers, "Content-Length": len(data)}
            head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            first = f"HTTP/1.1 {reply.status} {self.responses.get(reply.status, ('',))[0]}\r\n"
            self.wfile.write(f"{first}{head}\r\n".encode("latin-1") + data)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    return Handler


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    """The body, by its length or in chunks."""
    if handler.headers.get("Transfer-Encoding", "").lower() != "chunked":
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    parts = []
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        parts.append(handler.rfile.read(size))
        handler.rfile.readline()
    handler.rfile.readline()
    return b"".join(parts)
