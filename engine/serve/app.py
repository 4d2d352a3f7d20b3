"""The HTTP side of `serve`: webhooks, and two addresses that say how it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.sdk.record import encode_json
from engine.serve.webhooks import Receiver

if TYPE_CHECKING:
    from engine.serve.server import Server


def app_of(server: Server, receiver: Receiver) -> Starlette:
    """The application. It never answers with what went wrong inside."""

    def health(request: Request) -> Response:
        """Whether this process is alive."""
        return _json(200, {"status": "alive"})

    def ready(request: Request) -> Response:
        """Whether it can do its work: state, leader, workers; and how much waits."""
        told = server.readiness()
        return _json(200 if told["ready"] else 503, told)

    async def broken(request: Request, error: Exception) -> Response:
        server.tell("request failed", error=type(error).__name__)
        return Response(status_code=500)

    routes = [
        Route("/hooks/{path:path}", receiver.hook, methods=["GET", "POST", "OPTIONS"]),
        Route("/events", receiver.event, methods=["POST", "OPTIONS"]),
        Route("/events/{connection}", receiver.event, methods=["POST", "OPTIONS"]),
        Route("/health", health, methods=["GET"]),
        Route("/ready", ready, methods=["GET"]),
    ]
    return Starlette(routes=routes, exception_handlers={500: broken, 404: _nothing, 405: _nothing})


async def _nothing(request: Request, error: Exception) -> Response:
    return Response(status_code=getattr(error, "status_code", 404))


def _json(status: int, told: dict[str, Any]) -> Response:
    return Response(encode_json(told), status, media_type="application/json")
