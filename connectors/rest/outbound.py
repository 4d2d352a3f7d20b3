"""Salesforce outbound messages: SOAP with up to a hundred notifications, answered with an Ack; told from a stranger's by
the organization's id, which is no secret: let only Salesforce's addresses or its client certificate through as well."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Any

from engine.sdk.errors import Problem
from engine.sdk.webhook import WebhookAnswer, WebhookEvent, WebhookRequest

NOTIFICATIONS = "{http://soap.sforce.com/2005/09/outbound}"
ENVELOPE = "{http://schemas.xmlsoap.org/soap/envelope/}"
KIND = "{http://www.w3.org/2001/XMLSchema-instance}type"
MAX_EVENTS = 1000
ACK = (
    b'<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/">'
    b'<soapenv:Body><notificationsResponse xmlns="http://soap.sforce.com/2005/09/outbound"><Ack>true</Ack>'
    b"</notificationsResponse></soapenv:Body></soapenv:Envelope>"
)


def outbound_message(name: str, organizations: Sequence[str], request: WebhookRequest) -> WebhookAnswer:
    """What a message tells: one event a notification. organizations: ids of ours, with 15 or 18 characters."""
    found = _notifications(request.body)
    if found is None or len(found) > MAX_EVENTS + 1:
        problem = Problem("C558", f"connection {name!r}: a webhook cannot be read: it is no outbound message", None,
                          "send outbound messages of Salesforce to this address")  # fmt: skip
        return WebhookAnswer("refused", status=400, problem=problem)
    given = (found.findtext(f"{NOTIFICATIONS}OrganizationId") or "").strip()
    known = [hmac.compare_digest(given[:15].encode("utf-8", "replace"), one[:15].encode()) for one in organizations]
    if len(given) not in (15, 18) or not any(known):
        problem = Problem("C557", f"connection {name!r}: a webhook is refused: it is of another organization", None,
                          "set the id of your organization")  # fmt: skip
        return WebhookAnswer("refused", status=401, problem=problem)
    events = tuple(_event(one) for one in found.iterfind(f"{NOTIFICATIONS}Notification"))
    return WebhookAnswer("accepted", events, status=200, body=ACK, headers={"Content-Type": "text/xml; charset=utf-8"})


def _notifications(body: bytes) -> Any:
    from xml.etree.ElementTree import ParseError

    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        root = fromstring(body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError, RecursionError):
        return None
    if root.tag != f"{ENVELOPE}Envelope":
        return None
    return root.find(f"{ENVELOPE}Body/{NOTIFICATIONS}notifications")


def _event(notification: Any) -> WebhookEvent:
    record = notification.find(f"{NOTIFICATIONS}sObject")
    if record is None:
        return WebhookEvent(notification.findtext(f"{NOTIFICATIONS}Id"))
    kind = str(record.get(KIND) or "").rpartition(":")[2]
    fields = {str(one.tag).rpartition("}")[2]: one.text for one in record}
    return WebhookEvent(
        notification.findtext(f"{NOTIFICATIONS}Id"), kind or None, fields.get("Id"), fields.get("IsDeleted") == "true",
        fields.get("LastModifiedDate") or fields.get("SystemModstamp"),
    )  # fmt: skip
