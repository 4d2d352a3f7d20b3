"""The fake Kantata: paths to functions, the token, throttling, and the door for a user's edits."""

from __future__ import annotations

import threading
import uuid
from typing import Any

from connectors.sandbox.kantata.billing import VERDICTS, Billing
from connectors.sandbox.kantata.errors import Fault, invalid, missing
from connectors.sandbox.kantata.lists import Lists
from connectors.sandbox.kantata.rows import Rows
from connectors.sandbox.kantata.things import INDEXED, SUBJECTS, SYSTEM, THINGS
from connectors.sandbox.server import Reply, Request
from connectors.sandbox.store import Doc, Shape, Store

BULK = 300
BULK_DELETE = 100
EVENTS = ("event_type", "subject_type", "subject_id", "user_id")


class Kantata:
    """The system. me: id of the token's user. budget: calls until 429 (None: without end); `refill` sets it again."""

    CREDENTIALS = {"token": "sandbox-kantata-token"}
    SHAPE = Shape("updated_at", INDEXED)

    def __init__(self, store: Store) -> None:
        self.store, self.url, self.me = store, "", "1"
        self.lists, self.rows = Lists(store, self.me), Rows(store, self.me)
        self.billing = Billing(self.rows)
        self.valid = True
        self.budget: int | None = None
        self._lock = threading.Lock()

    def expire_tokens(self) -> None:
        """Tokens of Kantata do not expire; the next call is refused once, as after a revocation that was undone."""
        self.valid = False

    def refill(self, calls: int | None) -> None:
        """Allow so many calls before 429."""
        self.budget = calls

    def handle(self, request: Request) -> Reply:
        """Answer a request."""
        try:
            reply = self._answer(request)
        except Fault as fault:
            reply = fault.reply()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reply = Fault(400, "system", f"The request cannot be read: {type(error).__name__}").reply()
        return Reply(reply.status, reply.body, {**reply.headers, "x-request-id": str(uuid.uuid4())})

    def _answer(self, request: Request) -> Reply:
        if request.path == "/oauth/token":
            return self._token(request)
        valid, self.valid = self.valid, True
        if not valid or request.headers.get("authorization") != f"Bearer {self.CREDENTIALS['token']}":
            raise Fault(401, "oauth", "Invalid OAuth 2 Request")
        if self.budget is not None:
            with self._lock:
                self.budget -= 1
                left = self.budget
            if left < 0:
                raise Fault(429, "system", "Rate limit exceeded")
        parts = request.parts
        if parts[:2] != ["api", "v1"] or len(parts) < 3:
            raise missing()
        parts = [part.removesuffix(".json") for part in parts[2:]]
        if parts[0] in ("timesheet_approvals", "timesheet_rejections", "timesheet_cancellations"):
            return self._verdicts(request, parts[0])
        if parts[0] not in THINGS:
            raise missing()
        if request.method == "GET":
            return self._read(request, parts[0], parts[1:])
        with self.store.writing():
            return self._write(request, parts[0], parts[1:])

    def _token(self, request: Request) -> Reply:
        form = request.form()
        if form.get("grant_type") != "authorization_code" or not form.get("code"):
            return Reply(400, {"error": "unsupported_grant_type"})
        return Reply(200, {"access_token": self.CREDENTIALS["token"], "token_type": "bearer"})

    # ------------------------------------------------------------------ reads
    def _read(self, request: Request, plural: str, rest: list[str]) -> Reply:
        query = request.query
        if plural == "subscribed_events":
            return self._events(query, rest)
        if (plural, rest) == ("invoices", ["next_invoice_number"]):
            return Reply(200, {"next_invoice_number": self.billing.next_number()})
        if plural == "external_references" and not rest and "subject_type" not in query and "only" not in query:
            raise Fault(400, "system", "subject_type is required")
        if not rest:
            return self.lists.index(plural, query)
        if len(rest) > 1:
            raise missing()
        rows = [
            row
            for row in self.store.many(SYSTEM, plural, rest)
            if self.lists.visible(plural, row, {**query, "only": rest[0]})
        ]
        if not rows:
            raise missing()
        return self.lists.envelope(plural, rows, query)

    def _events(self, query: dict[str, str], rest: list[str]) -> Reply:
        if rest == ["event_types"]:
            names = sorted(f"{thing.singular}:{what}" for thing in THINGS.values() if thing.event
                           for what in ("created", "updated", "deleted"))  # fmt: skip
            return Reply(200, {"event_types": names})
        if rest:
            raise missing()
        if "most_recent" in query and "most_recent_by_event_type" in query:
            raise Fault(400, "system", "most_recent and most_recent_by_event_type exclude each other")
        wanted = {
            "event_type": query.get("event_types"), "subject_type": query.get("subject_type"),
            "subject_id": query.get("subject_id"), "user_id": query.get("user_ids"),
        }  # fmt: skip
        times = {name: value for name, value in query.items() if name in ("created_after", "created_before")}
        rows = [row for row in self.lists.rows("subscribed_events", times)
                if all(text is None or row[name] in text.split(",") for name, text in wanted.items())]  # fmt: skip
        for name, key in (("most_recent", ()), ("most_recent_by_event_type", ("event_type",))):
            if name in query:
                rows = list(
                    {tuple(row[one] for one in ("subject_type", "subject_id", *key)): row for row in rows}.values()
                )
        only = ",".join(row["id"] for row in rows)
        kept = {
            name: value
            for name, value in query.items()
            if name in ("page", "per_page", "limit", "offset", "order", "optional_fields")
        }
        reply = self.lists.index("subscribed_events", {**kept, "only": only})
        if query.get("include") == "subject":
            for row in reply.body["subscribed_events"].values():
                plural = SUBJECTS.get(row["subject_type"])
                for one in self.store.many(SYSTEM, plural, [row["subject_id"]]) if plural else []:
                    reply.body.setdefault(plural, {})[one["id"]] = self.lists.shown(plural or "", one, set(), {})
        return reply

    # ------------------------------------------------------------------ writes
    def _write(self, request: Request, plural: str, rest: list[str]) -> Reply:
        thing, body = THINGS[plural], request.json()
        if (plural, rest) == ("external_references", ["create_or_update"]) and request.method == "POST":
            return self.lists.envelope(plural, [self.rows.refer(body["external_reference"])], {})
        if len(rest) == 2 and request.method == "PUT":
            return self._verb(plural, rest[0], rest[1])
        if request.method not in thing.verbs:
            raise Fault(403, "system", "You are not permitted to do this") if rest else missing()
        named = {"include": request.query.get("include", ",".join(thing.links))}
        if request.method == "POST" and not rest:
            several = body.get(plural)
            if several is not None and (not isinstance(several, list) or len(several) > BULK):
                raise invalid(f"No more than {BULK} {plural} at once")
            return self.lists.envelope(
                plural, [self._make(plural, one) for one in several or [body[thing.singular]]], named
            )
        if request.method == "PUT" and len(rest) == 1:
            return self.lists.envelope(plural, [self.rows.change(plural, rest[0], body[thing.singular])], named)
        if request.method == "DELETE":
            return self._delete(request, plural, rest, body)
        raise missing()

    def _make(self, plural: str, fields: Doc) -> Doc:
        if plural == "invoices":
            return self.billing.invoice(fields)
        if plural == "external_payments":
            return self.billing.payment(fields)
        if plural == "timesheet_submissions":
            return self.billing.submit(fields)
        if plural == "external_references":
            return self.rows.refer(fields)
        if plural == "account_invitations":
            user = self.rows.make("users", {"full_name": fields.get("full_name"), "email_address": fields.get("email_address"),
                                            "headline": None, "disabled": False, "generic": False})  # fmt: skip
            self.rows.make(
                "account_memberships", {"user_id": user["id"], "permission": "collaborator", "disabled_at": None}
            )
        return self.rows.make(plural, fields)

    def _delete(self, request: Request, plural: str, rest: list[str], body: Any) -> Reply:
        """One row, or all of `ids` or none."""
        ids = rest or [str(id) for id in body.get("ids", [])] or request.query.get("ids", "").split(",")
        if len(ids) > BULK_DELETE:
            raise invalid(f"No more than {BULK_DELETE} ids at once", "ids")
        if not rest:
            blocked = [id for id in ids if self._blocked(plural, id)]
            if blocked:
                raise invalid(f"These {plural} cannot be deleted: {', '.join(blocked)}", "ids")
        for id in ids:
            self.rows.remove(plural, id)
        return Reply(204)

    def _blocked(self, plural: str, id: str) -> bool:
        doc = self.store.get(SYSTEM, plural, id)
        return doc is None or bool(doc.get("approved") or doc.get("is_invoiced"))

    def _verb(self, plural: str, id: str, verb: str) -> Reply:
        if (plural, verb) == ("invoices", "cancel"):
            row = self.billing.cancel(id)
        elif plural == "timesheet_submissions" and verb in VERDICTS:
            row = self.billing.judge(id, verb)
        elif (plural, verb) == ("account_memberships", "disable"):
            row = self.rows.change(plural, id, {"disabled_at": self.rows.stamp()})
            user = self.rows.found("users", row["user_id"])
            self.rows.save("users", {**user, "disabled": True, "updated_at": self.rows.stamp()}, "updated", user)
        else:
            raise missing()
        return self.lists.envelope(plural, [row], {"include": ",".join(THINGS[plural].links)})

    def _verdicts(self, request: Request, path: str) -> Reply:
        verdict = {"timesheet_approvals": "approve", "timesheet_rejections": "reject"}.get(path, "cancel")
        ids = next(iter(request.json().values()))["timesheet_submission_ids"]
        with self.store.writing():
            rows = [self.billing.judge(str(id), verdict) for id in ids]
        return self.lists.envelope("timesheet_submissions", rows, {"include": "time_entries"})

    # ------------------------------------------------------------------ a user's hand
    def edit(self, plural: str, id: str, fields: Doc) -> None:
        """A user's change: no validation, no lock, not journaled; the stamp moves and the change feed has it."""
        with self.store.writing():
            doc = self.store.get(SYSTEM, plural, id)
            if doc is None:
                raise KeyError(id)
            self.rows.save(plural, {**doc, **fields, "updated_at": self.rows.stamp()}, "updated", doc)

    def add(self, plural: str, fields: Doc) -> str:
        """A user's new row, validated."""
        with self.store.writing():
            return str(self._make(plural, fields)["id"])

    def delete(self, plural: str, id: str) -> None:
        """A user deletes a row."""
        with self.store.writing():
            self.rows.remove(plural, id)
