"""Asynchronous requests: one call or a batch of records accepted at once, answered through jobs, tasks and results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias
from urllib.parse import urlencode

from connectors.sandbox.netsuite.errors import Fault, missing, parameter
from connectors.sandbox.netsuite.kinds import SYSTEM
from connectors.sandbox.server import Reply, Request
from connectors.sandbox.store import Doc, Store
from engine.sdk.record import encode_json

MOST = 100
KEY = "x-netsuite-idempotency-key"
Route: TypeAlias = Callable[[Request], Reply]


class Jobs:
    """Jobs of one store. route: answers one call, errors as replies. polls: how often a job is still pending."""

    def __init__(self, store: Store, route: Route) -> None:
        self.store, self.route, self.url, self.polls = store, route, "", 0

    @staticmethod
    def wanted(request: Request) -> bool:
        return "respond-async" in request.headers.get("prefer", "")

    @staticmethod
    def collection(request: Request) -> bool:
        """Whether the call holds many records."""
        return "type=collection" in request.headers.get("content-type", "").replace(" ", "") or (
            request.method == "DELETE" and "ids" in request.query
        )

    def accept(self, request: Request) -> Reply:
        """202 and where to ask. Raises Fault IDEMPOTENCY_ERROR for a key seen before."""
        calls = self._split(request) if self.collection(request) else [request]
        with self.store.writing():
            key = request.headers.get(KEY)
            if key and self.store.get(SYSTEM, "idempotency", key) is not None:
                raise Fault(400, "IDEMPOTENCY_ERROR", f"A request with the idempotency key {key} was accepted already")
            id = str(self.store.next_id("netsuite job", 1))
            if key:
                self.store.put(SYSTEM, "idempotency", key, {"id": key, "job": id, "lastModifiedDate": self.store.now()})
        results = [self.route(call) for call in calls]
        tasks = [{"id": str(number), "status": one.status, "headers": one.headers, "body": one.body}
                 for number, one in enumerate(results, 1)]  # fmt: skip
        self.store.put(
            SYSTEM,
            "job queue",
            id,
            {"id": id, "polls": self.polls, "tasks": tasks, "lastModifiedDate": self.store.now()},
        )
        return Reply(202, None, {"Location": self._href(id)})

    def _split(self, request: Request) -> list[Request]:
        """A batch as single calls, each of its own fate."""
        if request.method == "DELETE":
            ids = [id for id in request.query.get("ids", "").split(",") if id]
            calls = [self._call(request, "DELETE", f"/{id}", None) for id in ids]
        else:
            items = request.json().get("items")
            if not isinstance(items, list):
                raise parameter("items is missing or not a list")
            calls = [self._item(request, one) for one in items]
        if not 1 <= len(calls) <= MOST:
            raise parameter(f"A batch holds 1 to {MOST} records, not {len(calls)}")
        return calls

    def _item(self, request: Request, item: Doc) -> Request:
        body = dict(item)
        if request.method == "POST":
            return self._call(request, "POST", "", body)
        id, external = body.pop("id", None), body.pop("externalId", None)
        if request.method == "PATCH" and id is not None:
            return self._call(request, "PATCH", f"/{id}", body)
        return self._call(request, request.method, f"/eid:{external}" if external else "/", body)

    @staticmethod
    def _call(request: Request, method: str, tail: str, body: Any) -> Request:
        query = {name: value for name, value in request.query.items() if name != "ids"}
        headers = {name: value for name, value in request.headers.items() if name not in ("prefer", "content-type")}
        data = b"" if body is None else encode_json(body)
        return Request(method, request.path + tail, query, headers, data, f"{request.path}{tail}?{urlencode(query)}")

    # ------------------------------------------------------------------ asking
    def handle(self, parts: list[str]) -> Reply:
        """/async/v1/job/{id}[/task[/{task}[/result]]]"""
        job = self.store.get(SYSTEM, "job queue", parts[0]) if parts else None
        if job is None:
            raise missing(parts[0] if parts else "")
        href, done = self._href(job["id"]), job["polls"] == 0
        if len(parts) == 1:
            if not done:
                self.store.put(SYSTEM, "job queue", job["id"], {**job, "polls": job["polls"] - 1})
            progress = "succeeded" if done else "processing"
            return Reply(200, {"id": job["id"], "completed": done, "progress": progress,
                               "task": {"links": [{"rel": "self", "href": f"{href}/task"}]}})  # fmt: skip
        if parts[1] != "task":
            raise missing(parts[1])
        if len(parts) == 2:
            items = [
                {"links": [{"rel": "self", "href": f"{href}/task/{one['id']}"}], "id": one["id"]}
                for one in job["tasks"]
            ]
            return Reply(
                200,
                {
                    "links": [],
                    "count": len(items),
                    "hasMore": False,
                    "offset": 0,
                    "totalResults": len(items),
                    "items": items,
                },
            )
        task = next((one for one in job["tasks"] if one["id"] == parts[2]), None)
        if task is None or (len(parts) > 3 and not done):
            raise missing(parts[2])
        if len(parts) > 3:
            return Reply(task["status"], task["body"], task["headers"])
        progress = "processing" if not done else "succeeded" if task["status"] < 400 else "failed"
        return Reply(200, {"id": task["id"], "completed": done, "progress": progress,
                           "links": [{"rel": "result", "href": f"{href}/task/{task['id']}/result"}]})  # fmt: skip

    def _href(self, id: str) -> str:
        return f"{self.url}/services/rest/async/v1/job/{id}"
