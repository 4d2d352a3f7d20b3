"""A fake Kantata OX: the envelope, paging, filters, external references, locks; errors as the real one."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from connectors.sandbox.server import Reply, Request
from connectors.sandbox.store import Doc, Store

SYSTEM = "kantata"
SINGULAR = {
    "workspaces": "workspace", "workspace_groups": "workspace_group", "stories": "story", "users": "user",
    "time_entries": "time_entry", "expenses": "expense", "invoices": "invoice", "assignments": "assignment",
    "external_payments": "external_payment", "billing_milestones": "billing_milestone",
    "external_references": "external_reference", "roles": "role",
}  # fmt: skip
REQUIRED = {
    "workspaces": ("title", "creator_role"), "stories": ("title", "story_type", "workspace_id"), "workspace_groups": ("name",),
    "time_entries": ("workspace_id", "date_performed", "time_in_minutes"), "users": ("full_name",),
    "expenses": ("workspace_id", "date", "category", "amount_in_cents"), "invoices": ("payment_schedule",),
    "assignments": ("story_id", "assignee_id"),
}  # fmt: skip
ASSOCIATIONS = {
    "time_entries": {"user": "user_id", "workspace": "workspace_id", "story": "story_id", "role": "role_id"},
    "expenses": {"user": "user_id", "workspace": "workspace_id"},
    "stories": {"workspace": "workspace_id"},
    "workspaces": {"workspace_groups": "workspace_group_ids", "primary_maven": "primary_maven_id"},
    "invoices": {"workspaces": "workspace_ids"},
}
HIDDEN = {"workspaces": ("archived", "include_archived"), "time_entries": ("in_archived", "from_archived_workspaces")}
TYPES = {"workspaces": "Workspace", "workspace_groups": "WorkspaceGroup", "time_entries": "TimeEntry", "users": "User",
         "stories": "Story", "expenses": "Expense", "invoices": "Invoice", "assignments": "Assignment"}  # fmt: skip


class Fault(Exception):
    """An error body."""

    def __init__(self, status: int, kind: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status, self.error = status, {"type": kind, "message": message, **({"field": field} if field else {})}


def stamp() -> str:
    """Now, with an offset as Kantata writes it."""
    return datetime.now(UTC).astimezone().isoformat(timespec="seconds")


class Kantata:
    """The system."""

    CREDENTIALS = {"token": "sandbox-kantata-token"}

    def __init__(self, store: Store) -> None:
        self.store, self.url = store, ""
        self.valid = True

    def expire_tokens(self) -> None:
        """Tokens of Kantata do not expire; the next call is refused once, as after a revocation that was undone."""
        self.valid = False

    def handle(self, request: Request) -> Reply:
        try:
            return self.route(request)
        except Fault as fault:
            return Reply(fault.status, {"errors": [fault.error]})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return Reply(400, {"errors": [{"type": "system", "message": f"bad request: {type(error).__name__}"}]})

    def route(self, request: Request) -> Reply:
        valid, self.valid = self.valid, True
        if not valid or request.headers.get("authorization") != f"Bearer {self.CREDENTIALS['token']}":
            raise Fault(401, "oauth", "Invalid OAuth 2 Request")
        parts = [part for part in request.path.removeprefix("/api/v1").removesuffix(".json").split("/") if part]
        plural = parts[0] if parts else ""
        if plural not in SINGULAR:
            raise Fault(404, "system", "The requested resource does not exist")
        if parts[1:] == ["create_or_update"] and plural == "external_references":
            return self.reference(request.json()["external_reference"])
        if len(parts) == 1:
            return (
                self.create(plural, request.json()) if request.method == "POST" else self.index(plural, request.query)
            )
        if request.method == "GET":
            rows = self.visible(plural, {**request.query, "only": parts[1]})
            if not rows:
                raise Fault(404, "system", "The requested resource does not exist")
            return self.envelope(plural, rows, 1, 20, request.query)
        if request.method == "PUT":
            return self.update(plural, parts[1], request.json()[SINGULAR[plural]])
        if request.method == "DELETE":
            self.locked(plural, self.found(plural, parts[1]))
            self.store.put(
                SYSTEM, plural, parts[1], {**self.found(plural, parts[1]), "updated_at": stamp()}, deleted=True
            )
            self.store.note(SYSTEM, plural, "delete", parts[1], {})
            return Reply(204)
        raise Fault(404, "system", "The requested resource does not exist")

    # ------------------------------------------------------------------ lists
    def index(self, plural: str, query: dict[str, str]) -> Reply:
        rows = self.visible(plural, query)
        order = query.get(
            "order",
            {"time_entries": "date_performed:desc", "invoices": "created_at:desc"}.get(plural, "updated_at:desc"),
        )
        name, _, way = order.partition(":")
        rows.sort(key=lambda row: (str(row.get(name) or ""), int(row["id"])), reverse=way == "desc")
        if "limit" in query or "offset" in query:
            size, start = int(query.get("limit", 20)), int(query.get("offset", 0))
            return self.envelope(plural, rows, 1 + start // max(size, 1), size, query, start)
        size = int(query.get("per_page", 20))
        if not 1 <= size <= 200:
            raise Fault(400, "system", "per_page must be between 1 and 200")
        return self.envelope(plural, rows, int(query.get("page", 1)), size, query)

    def visible(self, plural: str, query: dict[str, str]) -> list[Doc]:
        rows = self.store.all(SYSTEM, plural)
        if plural in HIDDEN:
            flag, shows = HIDDEN[plural]
            if query.get(shows) != "true":
                rows = [row for row in rows if not row.get(flag)]
        if "only" in query:
            wanted = set(query["only"].split(","))
            rows = [row for row in rows if row["id"] in wanted]
        for name in ("after", "before"):
            for field in ("updated", "created"):
                bound = query.get(f"{field}_{name}")
                if bound is not None:
                    limit = _moment(bound)
                    rows = [row for row in rows if (_moment(row[f"{field}_at"]) >= limit) == (name == "after")]
        if "approved" in query:  # presence only: any value means true
            rows = [row for row in rows if row.get("approved")]
        if "workspace_id" in query:
            rows = [row for row in rows if row.get("workspace_id") == query["workspace_id"]]
        for name in ("title", "name", "user_invoice_number", "email_address"):
            if name in query:
                rows = [row for row in rows if str(row.get(name) or "") in query[name].split(",")]
        return self.referenced(plural, rows, query)

    def referenced(self, plural: str, rows: list[Doc], query: dict[str, str]) -> list[Doc]:
        """Rows by the foreign ids that they were given."""
        wanted = query.get("external_reference_service_model_refs")
        if wanted is None:
            return rows
        known = {
            one["subject_id"]
            for one in self.store.all(SYSTEM, "external_references")
            if one["subject_type"] == TYPES.get(plural)
            and one["service_model_ref"] in wanted.split(",")
            and one["service_name"] == query.get("external_reference_service_name", one["service_name"])
            and one["service_model"] == query.get("external_reference_service_model", one["service_model"])
        }
        return [row for row in rows if row["id"] in known]

    def envelope(
        self, plural: str, rows: list[Doc], page: int, size: int, query: dict[str, str], start: int | None = None
    ) -> Reply:
        first = (page - 1) * size if start is None else start
        shown = [self.shown(plural, row, query) for row in rows[first : first + size]]
        meta = {"count": len(rows), "page_count": max(1, -(-len(rows) // size)), "page_number": page, "page_size": size}
        body: Doc = {"count": len(rows), "meta": meta, "results": [{"key": plural, "id": row["id"]} for row in shown],
                     plural: {row["id"]: row for row in shown}}  # fmt: skip
        return Reply(200, body)

    def shown(self, plural: str, row: Doc, query: dict[str, str]) -> Doc:
        """Association ids appear only when the association is named in `include`."""
        wanted = set(query.get("include", "").split(","))
        hidden = {field for name, field in ASSOCIATIONS.get(plural, {}).items() if name not in wanted}
        return {name: value for name, value in row.items() if name not in hidden and name not in ("in_archived",)}

    # ------------------------------------------------------------------ writes
    def create(self, plural: str, body: Doc) -> Reply:
        several = body.get(plural)
        docs = several if isinstance(several, list) else [body[SINGULAR[plural]]]
        with self.store.writing():
            made = [self.make(plural, doc) for doc in docs]
        return self.envelope(plural, made, 1, max(len(made), 1), {"include": ",".join(ASSOCIATIONS.get(plural, {}))})

    def make(self, plural: str, fields: Doc) -> Doc:
        for name in REQUIRED.get(plural, ()):
            if fields.get(name) in (None, ""):
                raise Fault(422, "validation", f"{name} can't be blank", name)
        values = self.checked(plural, fields)
        id = str(self.store.next_id(f"kantata {plural}", 1000))
        inline = values.pop("external_reference", None)
        doc = {"id": id, **values, "created_at": stamp(), "updated_at": stamp()}
        self.store.put(SYSTEM, plural, id, doc)
        self.store.note(SYSTEM, plural, "create", id, fields)
        if inline:
            self.reference({**inline, "subject_type": TYPES[plural], "subject_id": id})
        return doc

    def checked(self, plural: str, fields: Doc) -> Doc:
        values = dict(fields)
        for name in ("time_in_minutes", "amount_in_cents", "price_in_cents", "rate_in_cents"):
            if values.get(name) is not None and not isinstance(values[name], int):
                raise Fault(422, "validation", f"{name} must be an integer", name)
        for name in ("date_performed", "date", "start_date", "due_date", "invoice_date"):
            if values.get(name) is not None and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", str(values[name])):
                raise Fault(422, "validation", f"{name} is not a date", name)
        if "status_key" in values and plural == "workspaces":
            key = values.pop("status_key")
            values["status"] = {"color": "green", "key": key, "message": str(key).replace("_", " ").title()}
        if values.get("workspace_id") and self.store.get(SYSTEM, "workspaces", str(values["workspace_id"])) is None:
            raise Fault(422, "validation", "Workspace must exist", "workspace_id")
        return values

    def update(self, plural: str, id: str, fields: Doc) -> Reply:
        with self.store.writing():
            doc = self.found(plural, id)
            self.locked(plural, doc)
            values = self.checked(plural, fields)
            values.pop("external_reference", None)
            doc = {**doc, **values, "updated_at": stamp()}
            self.store.put(SYSTEM, plural, id, doc)
            self.store.note(SYSTEM, plural, "update", id, fields)
        return self.envelope(plural, [doc], 1, 1, {"include": ",".join(ASSOCIATIONS.get(plural, {}))})

    def found(self, plural: str, id: str) -> Doc:
        doc = self.store.get(SYSTEM, plural, id)
        if doc is None:
            raise Fault(404, "system", "The requested resource does not exist")
        return doc

    def locked(self, plural: str, doc: Doc) -> None:
        if plural in ("time_entries", "expenses") and (doc.get("is_invoiced") or doc.get("approved")):
            raise Fault(422, "validation", "This entry is approved or invoiced and cannot be changed")

    def reference(self, fields: Doc) -> Reply:
        for name in ("subject_type", "subject_id", "service_name", "service_model", "service_model_ref"):
            if not fields.get(name):
                raise Fault(422, "validation", f"{name} can't be blank", name)
        with self.store.writing():
            same = next((one for one in self.store.all(SYSTEM, "external_references")
                         if one["subject_type"] == fields["subject_type"] and one["subject_id"] == str(fields["subject_id"])
                         and one["service_name"] == fields["service_name"]), None)  # fmt: skip
            id = same["id"] if same else str(self.store.next_id("kantata external_references", 1))
            doc = {
                "id": id,
                "status": "successful",
                **(same or {}),
                **fields,
                "subject_id": str(fields["subject_id"]),
                "updated_at": stamp(),
            }
            self.store.put(SYSTEM, "external_references", id, doc)
        return self.envelope("external_references", [doc], 1, 1, {})

    def edit(self, plural: str, id: str, fields: Doc) -> None:
        """A user's change."""
        self.store.put(SYSTEM, plural, id, {**self.found(plural, id), **fields, "updated_at": stamp()})

    def add(self, plural: str, fields: Doc) -> str:
        return str(self.make(plural, fields)["id"])


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text.replace("Z", "+00:00").replace(" ", "+"))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
