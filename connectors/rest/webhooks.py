"""Webhooks of systems that a manifest describes: verified over the raw body first, then read, and nothing is believed
that was not asked for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

from connectors.rest.outbound import outbound_message
from connectors.rest.shapes import search
from connectors.rest.signatures import refusal
from engine.sdk.config import Secret
from engine.sdk.errors import Problem
from engine.sdk.manifest_webhooks import Choice, Webhooks
from engine.sdk.record import JSON, Fields
from engine.sdk.strict import strict_json
from engine.sdk.webhook import WebhookAnswer, WebhookEvent, WebhookRequest

MAX_EVENTS = 1000
LONGEST_ECHO = 2048
_PLAIN = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}


class Unreadable(Exception):
    """A call that is verified and says nothing that the manifest knows."""


def answer(name: str, spec: Webhooks, given: Mapping[str, Any], request: WebhookRequest) -> WebhookAnswer:
    """What a call is taken for. name: the connection; given: its settings. Never raises for what a stranger sends."""
    shaken = _handshake(spec, request)
    if shaken is not None:
        return shaken
    if request.method.upper() != "POST":
        return refused(name, "it is no POST", 405)
    settings = {key: one.reveal() if isinstance(one, Secret) else one for key, one in given.items()}
    secrets = [str(settings[one]) for one in spec.verify.secret if settings.get(one)]
    if spec.verify.kind == "outbound_message":
        return outbound_message(name, secrets, request)
    facts: Fields = {}

    def read() -> Fields:
        if not facts:
            facts.update({"headers": dict(request.headers), "query": dict(request.query), "body": _body(spec, request)})
        return facts

    try:
        why = refusal(spec.verify, secrets, settings, request, read)
        if why is not None:
            return refused(name, why, 401)
        return WebhookAnswer("accepted", tuple(_events(spec, read())))
    except Unreadable as error:
        return _unreadable(name, str(error))


def refused(name: str, why: str, status: int) -> WebhookAnswer:
    """A call that is not let in; the caller hears the status only."""
    problem = Problem("C557", f"connection {name!r}: a webhook is refused: {why}", None,
                      "compare the secret, the address and the clock with what is set at the system")  # fmt: skip
    return WebhookAnswer("refused", status=status, problem=problem)


def _unreadable(name: str, why: str) -> WebhookAnswer:
    problem = Problem("C558", f"connection {name!r}: a webhook cannot be read: {why}", None,
                      "see `webhooks` of the manifest, and the format that is set at the system")  # fmt: skip
    return WebhookAnswer("refused", status=400, problem=problem)


def _handshake(spec: Webhooks, request: WebhookRequest) -> WebhookAnswer | None:
    if spec.handshake is None:
        return None
    if spec.handshake.kind == "origin":
        origin = request.headers.get("webhook-request-origin", "")
        if request.method.upper() != "OPTIONS" or not origin or not _echoes(origin):
            return None
        headers = {"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*"}
        return WebhookAnswer("handshake", status=200, headers=headers)
    text = request.query.get(str(spec.handshake.param), "")
    if not text or not _echoes(text):
        return None
    return WebhookAnswer("handshake", status=200, body=text.encode(), headers=_PLAIN)


def _echoes(text: str) -> bool:
    """Whether a stranger's text may be said back."""
    return len(text) <= LONGEST_ECHO and text.isascii() and text.isprintable()


def _body(spec: Webhooks, request: WebhookRequest) -> JSON:
    try:
        if spec.format == "json":
            return strict_json(request.body)
        pairs = parse_qsl(
            request.body.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=1000
        )
    except ValueError as error:
        raise Unreadable(f"its body is no {spec.format}: {error}") from None
    if len(dict(pairs)) != len(pairs):
        raise Unreadable("a field stands twice in it")
    return dict(pairs)


def _events(spec: Webhooks, facts: Fields) -> list[WebhookEvent]:
    found = search(spec.events, facts) if spec.events is not None else [facts["body"]]
    if not isinstance(found, list):
        raise Unreadable("it has no list of events where the manifest says")
    if len(found) > MAX_EVENTS:
        raise Unreadable(f"it has more than {MAX_EVENTS} events")
    return [_event(spec, {**facts, "event": one}) for one in found]


def _event(spec: Webhooks, facts: Fields) -> WebhookEvent:
    at = _instant(spec, search(spec.at, facts))
    record = search(spec.record, facts) if spec.complete else None
    if spec.complete and (not isinstance(record, dict) or at is None):
        record = None  # without its version it is a hint like any other
    header = facts["headers"].get("webhook-id") if spec.verify.kind == "standard_webhooks" else None
    return WebhookEvent(
        _text(search(spec.event_id, facts)) or _text(header), _object(spec, facts), _text(search(spec.key, facts)),
        search(spec.deleted, facts) is True, at, record,
    )  # fmt: skip


def _object(spec: Webhooks, facts: Fields) -> str | None:
    if isinstance(spec.object, Choice):
        said = _text(search(spec.object.from_, facts))
        return said if spec.object.values is None else spec.object.values.get(said or "")
    return spec.object


def _text(value: JSON) -> str | None:
    """An id as text; anything but text and whole numbers is none."""
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        return None
    if isinstance(value, Decimal):
        return None
    return str(value) or None


def _instant(spec: Webhooks, value: JSON) -> str | None:
    try:
        if spec.at_form == "instant":
            moment = datetime.fromisoformat(value) if isinstance(value, str) else None
            return value if moment is not None and moment.tzinfo is not None else None
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            return None
        number = int(value)
        moment = datetime.fromtimestamp(number / 1000 if spec.at_form == "epoch_ms" else number, UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except (ValueError, OverflowError, OSError):
        return None
