"""The webhook receiver: quota, size and deadline, then the connector's verification, then the inbox, then the answer.

What is answered with 2xx is committed. Calls that come together share one commit. A caller whose call is refused is told
nothing but the status.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from engine.run.inbox import Hook, hooks
from engine.run.work import Tell
from engine.sdk.errors import CrosswalkError
from engine.sdk.record import encode_json
from engine.sdk.webhook import WebhookAnswer, WebhookEvent, WebhookRequest
from engine.serve.quota import Bucket
from engine.spec.workspace import Workspace
from engine.state import inbox
from engine.state.inbox import Arrival
from engine.state.store import Store

BODY = 2**20
"""Bytes of a call, at most."""
DEADLINE = 10.0
"""Seconds in which a call's body must have come."""
TOGETHER = 500
"""Calls that share a commit, at most."""
INLINE = 64 * 1024
"""Bodies up to this size are verified in the event loop; others by a thread."""
Waiting = tuple[list[Arrival], "asyncio.Future[int]", asyncio.AbstractEventLoop]


class Keeper:
    """One thread that puts calls into the inbox: whatever waits when it comes round is one transaction."""

    def __init__(self, store: Store, dispatch: Any) -> None:
        self.store, self._dispatch = store, dispatch
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._keep, name="inbox", daemon=True)
        self._thread.start()

    async def keep(self, arrivals: list[Arrival]) -> int:
        """How many were not known, once they are committed. Raises StateError where they could not be."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[int] = loop.create_future()
        self._queue.put((arrivals, done, loop))
        return await done

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _keep(self) -> None:
        over = False
        while not over:
            first = self._queue.get()
            calls = [first] if first is not None else []
            over = first is None
            while len(calls) < TOGETHER and not self._queue.empty():
                one = self._queue.get()
                over = over or one is None
                calls += [one] if one is not None else []
            if calls:
                self._commit(calls)

    def _commit(self, calls: list[Waiting]) -> None:
        error: Exception | None = None
        fresh = 0
        try:
            with self.store.begin("inbox put", durable=True) as tx:
                fresh = inbox.put_all(tx, [one for arrivals, _, _ in calls for one in arrivals])
        except Exception as fault:  # noqa: BLE001 - every caller is told that it was not kept
            error = fault
        for _, done, loop in calls:
            try:
                loop.call_soon_threadsafe(_settle, done, fresh, error)
            except RuntimeError:
                continue  # the loop has gone, and its caller with it
        if fresh:
            self._dispatch()


def _settle(done: asyncio.Future[int], fresh: int, error: Exception | None) -> None:
    if done.cancelled():
        return
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(fresh)


class Receiver:
    """Takes calls. Its connectors are opened when it is made, so that a missing secret is told at the start."""

    def __init__(self, workspace: Workspace, store: Store, tell: Tell, dispatch: Any) -> None:
        self.tell = tell
        self.hooks: dict[str, Hook] = hooks(workspace)
        self.doors = [name for name, data in workspace.settings.connections.items() if data.get("accept")]
        names = sorted({hook.connection for hook in self.hooks.values()} | set(self.doors))
        self._connectors = {name: workspace.connector(name) for name in names}
        quota = workspace.settings.serve.webhooks
        self._quotas = {name: Bucket(quota.count, quota.per.total_seconds()) for name in names}
        self._keeper = Keeper(store, dispatch)

    def close(self) -> None:
        """Commit what waits, and close the connectors."""
        self._keeper.close()
        for connector in self._connectors.values():
            connector.close()

    async def hook(self, request: Request) -> Response:
        """A call to `/hooks/PATH`."""
        path = str(request.path_params["path"])
        hook = self.hooks.get(path)
        if hook is None:
            self.tell("webhook refused", status=404)
            return Response(status_code=404)
        return await self.take(request, path, hook.connection)

    async def event(self, request: Request) -> Response:
        """A CloudEvent at `/events`, or `/events/CONNECTION` where several connections take some."""
        name = str(request.path_params.get("connection") or (self.doors[0] if len(self.doors) == 1 else ""))
        if name not in self.doors:
            self.tell("webhook refused", status=404)
            return Response(status_code=404)
        return await self.take(request, "", name)

    async def take(self, request: Request, path: str, connection: str) -> Response:
        """A call of a connection, from its quota to its answer."""
        wait = self._quotas[connection].take()
        if wait:
            return self._refuse(connection, 429, {"Retry-After": str(int(wait) + 1)})
        body = await self._body(request)
        if isinstance(body, int):
            return self._refuse(connection, body, {"Connection": "close"})
        call = WebhookRequest(request.method, f"/hooks/{path}", _headers(request), body, datetime.now(UTC),
                              dict(request.query_params))  # fmt: skip
        verify = self._connectors[connection].webhook
        try:
            answer = verify(call) if len(body) <= INLINE else await asyncio.to_thread(verify, call)
        except Exception as error:  # noqa: BLE001 - it fails closed, whatever a stranger has sent
            code = error.problem.code if isinstance(error, CrosswalkError) else "X999"
            return self._refuse(connection, 400, {}, code=code, error=type(error).__name__)
        if answer.state == "handshake":
            self.tell("webhook handshake", connection=connection, status=answer.status)
            return _response(answer)
        if answer.state != "accepted":
            status = answer.status if answer.status >= 400 else 401
            return self._refuse(connection, status, {}, code=answer.problem.code if answer.problem else None)
        try:
            fresh = await self._keeper.keep(list(arrivals(connection, path, call, answer.events)))
        except CrosswalkError as error:
            return self._refuse(connection, 503, {"Retry-After": "10"}, code=error.problem.code)
        except Exception as error:  # noqa: BLE001 - it was not kept: the caller has to come again
            return self._refuse(connection, 503, {"Retry-After": "10"}, code="X999", error=type(error).__name__)
        self.tell("webhook", connection=connection, events=len(answer.events), kept=fresh)
        return _response(answer)

    async def _body(self, request: Request) -> bytes | int:
        """The raw body, or the status that it is refused with: too large, too slow, broken off."""
        given = request.headers.get("content-length", "")
        if given.isdecimal() and int(given) > BODY:
            return 413
        parts, size = [], 0
        try:
            async with asyncio.timeout(DEADLINE):
                async for part in request.stream():
                    size += len(part)
                    if size > BODY:
                        return 413
                    parts.append(part)
        except TimeoutError:
            return 408
        except ClientDisconnect:
            return 400
        return b"".join(parts)

    def _refuse(self, connection: str, status: int, headers: Mapping[str, str], **facts: Any) -> Response:
        self.tell("webhook refused", connection=connection, status=status, **facts)
        return Response(status_code=status, headers=dict(headers))


def _headers(request: Request) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in request.headers.items():
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _response(answer: WebhookAnswer) -> Response:
    return Response(answer.body, answer.status, dict(answer.headers))


def arrivals(connection: str, path: str, call: WebhookRequest, events: Iterable[WebhookEvent]) -> Iterable[Arrival]:
    """The rows of a call's events. Without an id of its own an event is told by body and time, and where it has no time
    either, each call is new: two changes of a record may well be told in the same words."""
    for number, event in enumerate(events):
        at = event.at or call.received.isoformat()
        own = blake2b(b"\0".join((call.body, at.encode(), str(number).encode())), digest_size=16).hexdigest()
        yield Arrival(
            connection, event.id or own, event.object, event.key, path, event.type, event.deleted, event.at,
            encode_json(event.record) if event.record is not None else None, event.body or (None if number else call.body),
        )  # fmt: skip
