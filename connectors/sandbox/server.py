"""HTTP for the fakes: one threaded server a system, requests routed to functions, answers sent in one piece."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from engine.sdk.record import decode_json, encode_json


@dataclass(frozen=True, slots=True)
class Request:
    """A request as handlers see it: decoded path, query parameters, headers with lower-case names."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    data: bytes
    url: str

    def json(self) -> Any:
        """The body as JSON. Raises ValueError."""
        return decode_json(self.data) if self.data else {}

    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.data.decode()))


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. body: JSON value, or bytes with their own content type."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


Handle = Callable[[Request], Reply]
Faults = Callable[[Request], Reply | None]


class Server:
    """A fake system on a loopback port. `faults` may answer in its place."""

    def __init__(self, name: str, handle: Handle, port: int = 0, latency: float = 0.0) -> None:
        self.name, self.handle, self.latency = name, handle, latency
        self.faults: Faults = lambda request: None
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name=f"sandbox {name}", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, request: Request) -> Reply:
        if self.latency:
            time.sleep(self.latency)
        return self.faults(request) or self.handle(request)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = 65536
        timeout = 30

        def do(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            request = Request(
                self.command, unquote(parts.path), dict(parse_qsl(parts.query, keep_blank_values=True)),
                {name.lower(): value for name, value in self.headers.items()}, self.rfile.read(length), f"{server.url}{self.path}",
            )  # fmt: skip
            reply = server.answer(request)
            data = (
                reply.body if isinstance(reply.body, bytes) else b"" if reply.body is None else encode_json(reply.body)
            )
            self.send_response(reply.status)
            for name, value in {"Content-Type": "application/json;charset=UTF-8", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            self.wfile.flush()

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    return Handler
