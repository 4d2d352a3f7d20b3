"""Webhooks of the fakes: what a system would send for every change, signed as it would, some twice and out of order.

Salesforce sends outbound messages, NetSuite what a script of its own would post (signed); Kantata has no webhooks.
"""

from __future__ import annotations

import hashlib
import hmac
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, NamedTuple
from urllib.error import HTTPError
from xml.sax.saxutils import escape

from engine.sdk.record import digest, encode_json

if TYPE_CHECKING:
    from connectors.sandbox.sandbox import Sandbox

TOGETHER = 5
"""Changes among which one may overtake another."""
Post = Callable[[str, Mapping[str, str], bytes], int]
"""(address, headers, body) → status."""


class Change(NamedTuple):
    """A record that is otherwise than when it was looked at last. op: create, update, delete."""

    seq: int
    object: str
    op: str
    id: str


class Call(NamedTuple):
    """One call. id: of the event; the same where it is told twice."""

    id: str
    headers: dict[str, str]
    body: bytes


class Sender:
    """Tells an address of the changes of a fake's objects since it was last asked, whoever made them.

    secret: of the signature (NetSuite), or the organization's id (Salesforce). twice: share of calls that are made
    twice. seed: decides which, and what overtakes what.
    """

    def __init__(
        self, sandbox: Sandbox, system: str, objects: Sequence[str], url: str, secret: str, *, seed: int = 1,
        twice: float = 0.0, shuffled: bool = False, now: Callable[[], float] | None = None,
    ) -> None:  # fmt: skip
        self.sandbox, self.system, self.url, self.secret = sandbox, system, url, secret
        self._random, self.twice, self.shuffled = Random(seed), twice, shuffled  # noqa: S311 - decides faults, no secret
        self._now = now
        self._objects, self._seq = tuple(objects), 0
        self._known = self._look()
        self._left: list[Call] = []

    def _look(self) -> dict[tuple[str, str], bytes]:
        return {
            (name, id): digest(doc)
            for name in self._objects
            for id in self.sandbox.store.ids(self.system, name)
            if (doc := self.sandbox.get(self.system, name, id)) is not None
        }

    def _changes(self) -> list[Change]:
        before, self._known = self._known, self._look()
        found = []
        for place in dict.fromkeys([*before, *self._known]):
            if before.get(place) != self._known.get(place):
                self._seq += 1
                op = "create" if place not in before else "delete" if place not in self._known else "update"
                found.append(Change(self._seq, place[0], op, place[1]))
        return found

    def calls(self) -> list[Call]:
        """The calls that are due, those that were not taken first."""
        due = self._left + [FORMS[self.system](self, one) for one in self._changes()]
        due += [one for one in due if self._random.random() < self.twice]
        if self.shuffled:
            due = [
                one for _, one in sorted(enumerate(due), key=lambda pair: pair[0] + self._random.random() * TOGETHER)
            ]
        return due

    def send(self, post: Post | None = None) -> int:
        """Make the calls; how many were taken. One that is answered otherwise than with 2xx is made again next time."""
        taken, left = 0, []
        for one in self.calls():
            good = 200 <= (post or _post)(self.url, one.headers, one.body) < 300
            taken += good
            if not good and one not in left:
                left.append(one)
        self._left = left
        return taken

    def time(self) -> int:
        """Seconds since 1970, as signatures have them."""
        import time

        return int(self._now() if self._now is not None else time.time())


def _post(url: str, headers: Mapping[str, str], body: bytes) -> int:
    request = urllib.request.Request(url, body, dict(headers), method="POST")  # noqa: S310 - the caller's own address
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return int(answer.status)
    except HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


def _salesforce(sender: Sender, change: Change) -> Call:
    """An outbound message with one notification."""
    id = f"04l{change.seq:015d}"
    body = (
        '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>'
        '<notifications xmlns="http://soap.sforce.com/2005/09/outbound">'
        f"<OrganizationId>{escape(sender.secret)}</OrganizationId><ActionId>04k000000000001AAA</ActionId>"
        f'<SessionId xsi:nil="true"/><Notification><Id>{id}</Id><sObject xsi:type="sf:{escape(change.object)}" '
        f'xmlns:sf="urn:sobject.enterprise.soap.sforce.com"><sf:Id>{escape(change.id)}</sf:Id>'
        f"<sf:IsDeleted>{'true' if change.op == 'delete' else 'false'}</sf:IsDeleted></sObject></Notification>"
        "</notifications></soapenv:Body></soapenv:Envelope>"
    )
    return Call(id, {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": '""'}, body.encode())


def _netsuite(sender: Sender, change: Change) -> Call:
    """What a user-event script posts: thin, and signed with the time."""
    id, stamp = f"ns-{change.seq}", str(sender.time())
    body = encode_json({"event": id, "type": change.op, "record": change.object, "id": change.id})
    signature = hmac.new(sender.secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    headers = {"Content-Type": "application/json", "X-Crosswalk-Timestamp": stamp, "X-Crosswalk-Signature": signature}
    return Call(id, headers, body)


FORMS: dict[str, Callable[[Sender, Change], Call]] = {"salesforce": _salesforce, "netsuite": _netsuite}
"""System → how it tells of a change."""
