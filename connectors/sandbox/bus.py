"""The fake bus: an address that takes CloudEvents, structured or binary, and keeps each under its id."""

from __future__ import annotations

import uuid

from connectors.sandbox.server import Reply, Request
from connectors.sandbox.store import Doc, Shape, Store
from engine.sdk.cloudevents import CloudEvent, parse, structured
from engine.sdk.errors import ConnectorError
from engine.sdk.record import decode_json


class Bus:
    """The system. What comes twice under one id is kept once; what is no CloudEvent is refused with 400."""

    CREDENTIALS = {"token": "sandbox-bus-token"}
    SHAPE = Shape("time", {"events": ("type", "subject")})

    def __init__(self, store: Store) -> None:
        self.store, self.url = store, ""
        self.down = False

    def expire_tokens(self) -> None:
        """The token of the bus does not expire."""

    def handle(self, request: Request) -> Reply:
        """Answer a request."""
        if self.down:
            return Reply(503, {"error": "the bus is down"})
        if request.headers.get("authorization") != f"Bearer {self.CREDENTIALS['token']}":
            return Reply(401, {"error": "the token is not the bus's"})
        if request.method != "POST":
            return Reply(405, {"error": "events are posted"}, {"Allow": "POST"})
        try:
            found = parse(request.headers, request.data)
        except ConnectorError as error:
            return Reply(400, {"error": error.problem.message})
        for event in found:
            self._keep(request.path.strip("/"), event)
        return Reply(204)

    def _keep(self, topic: str, event: CloudEvent) -> None:
        told: Doc = {**decode_json(structured(event)), "topic": topic}
        with self.store.writing():
            if self.store.get("bus", "events", event.id) is None:
                self.store.put("bus", "events", event.id, told)
                self.store.note("bus", "events", "create", event.id, told)

    # ------------------------------------------------------------------ a user's hand
    def edit(self, object: str, id: str, fields: Doc) -> None:
        """Change what was kept. Raises KeyError."""
        with self.store.writing():
            doc = self.store.get("bus", object, id)
            if doc is None:
                raise KeyError(id)
            self.store.put("bus", object, id, {**doc, **fields})

    def add(self, object: str, fields: Doc) -> str:
        """Keep something as if it had been posted; its id."""
        with self.store.writing():
            id = str(fields.get("id") or uuid.uuid4())
            self.store.put("bus", object, id, {**fields, "id": id})
        return id

    def delete(self, object: str, id: str) -> None:
        """Forget it."""
        self.store.purge("bus", object, id)
