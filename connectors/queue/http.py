"""The `cloudevents` connector: events are posted to an address, structured or binary, one a call."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from connectors.queue.carrier import Carrier
from engine.sdk.cloudevents import STRUCTURED, CloudEvent, binary, parse, structured
from engine.sdk.config import ConnectionConfig, ConnectionContext, SecretText
from engine.sdk.connector import Finding, Outcome
from engine.sdk.errors import ConnectorError, Problem
from engine.sdk.http import Answer, HttpClient
from engine.sdk.webhook import WebhookAnswer, WebhookEvent, WebhookRequest

LATER = (408, 425, 429)
"""Statuses that ask for another try."""
RETIRED = 410


class CloudEventsConfig(ConnectionConfig):
    """An address that takes CloudEvents over HTTP."""

    url: str
    """Address that events are posted to; a topic is put behind it."""
    mode: Literal["structured", "binary"] = "structured"
    """One JSON object with everything, or attributes in headers and the bare data."""
    token: SecretText | None = None
    """Sent as `Authorization: Bearer`."""
    accept: SecretText | list[SecretText] | None = None
    """Token that events sent to us have to bear, at POST /events of `crosswalk serve`; two while it changes."""
    headers: dict[str, SecretText] = Field({}, repr=False)
    """Further headers, such as a key that the receiver asks for."""
    hosts: list[str] = []
    """Names that may lead to private addresses, such as a system inside the company's network."""
    ca: str | None = None
    """File with certificates of further authorities (PEM), relative to the workspace."""


class CloudEventsConnector(Carrier[CloudEventsConfig]):
    """CloudEvents 1.0 by POST. 2xx: it has the event. Redirects are not followed."""

    name, config_model = "cloudevents", CloudEventsConfig

    def __init__(self, config: CloudEventsConfig, context: ConnectionContext) -> None:
        super().__init__(config, context)
        self.client = HttpClient(
            context.name, config.url, config, rate=None, concurrency=config.limits.concurrency, hosts=config.hosts,
            ca=str(context.path(config.ca)) if config.ca else None, permits=context.permits,
        )  # fmt: skip

    def close(self) -> None:
        self.client.close()

    def check(self) -> list[Finding]:
        """An address says nothing of itself: only that it answers can be told."""
        try:
            answer = self.client.send(
                "OPTIONS", self.client.url(""), headers=self._headers(), body=None, decode=_nothing
            )
        except ConnectorError as error:
            return [Finding(False, str(error.problem), error.problem.hint)]
        refused = answer.status in (401, 403)
        return [Finding(not refused, f"it answers with {answer.status}", "see `token`" if refused else "")]

    def publish(self, topic: str, events: Sequence[CloudEvent]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        down: ConnectorError | None = None
        for event in events:
            if down is None:
                try:
                    outcome = self._post(topic, event)
                except ConnectorError as error:
                    down = error
            outcomes.append(outcome if down is None else self.kept_back(event, down))
        return outcomes

    def webhook(self, request: WebhookRequest) -> WebhookAnswer:
        """CloudEvents sent to us, with their token; and the question whether they may be sent."""
        given = self.config.accept
        tokens = given if isinstance(given, list) else [given] if given is not None else []
        origin = request.headers.get("webhook-request-origin", "")
        if (
            request.method.upper() == "OPTIONS"
            and tokens
            and 0 < len(origin) <= 255
            and origin.isascii()
            and origin.isprintable()
        ):
            allowed = {"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*", "Allow": "POST"}
            return WebhookAnswer("handshake", status=200, headers=allowed)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        right = [
            hmac.compare_digest(token.encode("utf-8", "replace"), one.reveal().encode())
            for one in tokens
            if one.reveal()
        ]
        if request.method.upper() != "POST" or scheme.lower() != "bearer" or not any(right):
            problem = Problem("C557", f"connection {self.context.name!r}: an event is refused: it bears no right token", None,
                              "compare `accept` with the token of the sender")  # fmt: skip
            return WebhookAnswer("refused", status=401, problem=problem)
        try:
            found = parse(request.headers, request.body)
        except ConnectorError as error:
            status = 413 if error.problem.code == "C552" else 400
            return WebhookAnswer("refused", status=status, problem=error.problem)
        return WebhookAnswer("accepted", tuple(
            WebhookEvent(one.identity, key=one.subject, at=one.time, type=one.type, body=structured(one)) for one in found
        ))  # fmt: skip

    def _headers(self) -> dict[str, str]:
        found = {name: value.reveal() for name, value in self.config.headers.items()}
        if self.config.token is not None:
            found["Authorization"] = f"Bearer {self.config.token.reveal()}"
        return found

    def _post(self, topic: str, event: CloudEvent) -> Outcome:
        if self.config.mode == "structured":
            headers, body = {"Content-Type": STRUCTURED}, structured(event)
        else:
            headers, body = binary(event)
        answer = self.client.send("POST", self.client.url(topic), headers={**headers, **self._headers()}, body=body,
                                  decode=_nothing)  # fmt: skip
        return self._outcome(event, answer)

    def _outcome(self, event: CloudEvent, answer: Answer) -> Outcome:
        status = answer.status
        if 200 <= status < 300:
            return Outcome(event.id, "created")
        if status == 429 or status == 503:
            given = answer.headers.get("retry-after", "")
            error = self.unreachable(f"it answers with {status}", "rate_limited")
            error.wait = min(float(given), 3600.0) if given.isdecimal() else None
            raise error
        if status in (401, 403):
            raise self.unreachable(f"it answers with {status}", "auth")
        if status in LATER or status >= 500:
            return self.not_taken(event, f"it answers with {status}", "it is tried again", definite=False)
        hint = "the receiver has retired this address" if status == RETIRED else "see what the receiver takes"
        return self.not_taken(event, f"it answers with {status}", hint, definite=True)


def _nothing(kind: str, data: bytes) -> None:
    """What the receiver says beside its status is not looked at."""
