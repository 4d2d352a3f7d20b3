"""Writes of Kantata: rows made, changed and deleted with the model's validations, locks, references and events."""

from __future__ import annotations

import re
from datetime import UTC
from typing import Any

from connectors.sandbox.kantata.errors import Fault, invalid, missing
from connectors.sandbox.kantata.things import SUBJECTS, SYSTEM, THINGS, base_unit
from connectors.sandbox.store import Doc, Store

_DAY = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])")
_TYPES: dict[str, tuple[type, ...]] = {"string": (str,), "date": (str,), "number": (int,), "currency": (int,),
                                       "single": (list,), "multi": (list,)}  # fmt: skip


class Rows:
    """Writes to one store. finance: whether the token's user may write others' time; without, `user_id` is ignored."""

    def __init__(self, store: Store, me: str) -> None:
        self.store, self.me, self.finance = store, me, True

    def stamp(self) -> str:
        """Now, with an offset as Kantata writes it."""
        return self.store.clock.now().astimezone(UTC).isoformat(timespec="seconds")

    def found(self, plural: str, id: str) -> Doc:
        doc = self.store.get(SYSTEM, plural, id)
        if doc is None:
            raise missing()
        return doc

    # ------------------------------------------------------------------ one row
    def make(self, plural: str, fields: Doc) -> Doc:
        """A new row, its references and custom values with it."""
        for name in THINGS[plural].required:
            if fields.get(name) in (None, ""):
                raise invalid(f"{name.replace('_', ' ').capitalize()} can't be blank", name)
        values = self.checked(plural, fields)
        inline, custom, crew, template = (
            values.pop(name, None)
            for name in ("external_reference", "custom_fields", "assignments", "project_template_id")
        )
        planned = self._planned(template) if plural == "workspaces" and template is not None else []
        id = self.new_id(plural)
        at = self.stamp()
        doc = {"id": id, **self._defaults(plural, values), **values, "created_at": at, "updated_at": at}
        self.save(plural, doc, "created")
        self.store.note(SYSTEM, plural, "create", id, fields)
        if inline:
            self.refer({**inline, "subject_type": THINGS[plural].subject, "subject_id": id})
        self._inline(plural, id, custom, crew)
        for story in planned:
            self.make("stories", {**story, "workspace_id": id})
        return self.found(plural, id)

    def _planned(self, template: str) -> list[Doc]:
        """The stories that a project of a template begins with. Raises Fault."""
        known = self.store.get(SYSTEM, "project_templates", str(template))
        if known is None:
            raise invalid(f"Project template {template} must exist", "project_template_id")
        return [dict(one) for one in known["stories"]]

    def new_id(self, plural: str) -> str:
        """An id that no row of the seed has."""
        return str(self.store.next_id(f"kantata {plural}", lambda: max(1000, 10 * self.store.greatest(SYSTEM, plural))))

    def change(self, plural: str, id: str, fields: Doc) -> Doc:
        doc = self.found(plural, id)
        self.locked(plural, doc)
        values = self.checked(plural, fields, doc)
        inline, custom, crew = (
            values.pop(name, None) for name in ("external_reference", "custom_fields", "assignments")
        )
        self.save(plural, {**doc, **values, "updated_at": self.stamp()}, "updated", doc)
        self.store.note(SYSTEM, plural, "update", id, fields)
        if inline:
            self.refer({**inline, "subject_type": THINGS[plural].subject, "subject_id": id})
        self._inline(plural, id, custom, crew)
        return self.found(plural, id)

    def remove(self, plural: str, id: str) -> None:
        """Stories are marked as deleted; everything else is gone for good."""
        doc = self.found(plural, id)
        self.locked(plural, doc)
        if plural == "stories":
            if doc.get("deleted_at"):
                raise missing()
            self.save(plural, {**doc, "deleted_at": self.stamp(), "updated_at": self.stamp()}, "deleted", doc)
        else:
            self.store.put(SYSTEM, plural, id, {**doc, "updated_at": self.stamp()}, deleted=True)
            self._event(plural, "deleted", doc, None)
        self.store.note(SYSTEM, plural, "delete", id, {})

    def save(self, plural: str, doc: Doc, what: str, before: Doc | None = None) -> None:
        """Write a row with its event."""
        self.store.put(SYSTEM, plural, doc["id"], doc)
        self._event(plural, what, before, doc)

    def locked(self, plural: str, doc: Doc) -> None:
        if plural in ("time_entries", "expenses") and (doc.get("is_invoiced") or doc.get("approved")):
            what = "invoiced" if doc.get("is_invoiced") else "approved"
            raise invalid(f"This {THINGS[plural].singular.replace('_', ' ')} is {what} and cannot be changed")

    # ------------------------------------------------------------------ validation
    def checked(self, plural: str, fields: Doc, before: Doc | None = None) -> Doc:
        """Fields as they will be kept. Raises Fault."""
        thing, values = THINGS[plural], dict(fields)
        for name in ("id", "created_at", "updated_at"):
            values.pop(name, None)
        for name in thing.required:
            if name in values and values[name] in (None, ""):
                raise invalid(f"{name.replace('_', ' ').capitalize()} can't be blank", name)
        for name in thing.integers:
            value = values.get(name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise invalid(f"{name} is not an integer", name)
        for name in thing.dates:
            if values.get(name) is not None and not _DAY.fullmatch(str(values[name])):
                raise invalid(f"{name} is not a valid date", name)
        for field, target in thing.links.values():
            value = values.get(field)
            if value is None:
                continue
            several = [str(one) for one in value] if isinstance(value, list) else [str(value)]
            values[field] = several if isinstance(value, list) else several[0]
            for one in several:
                if self.store.get(SYSTEM, target, one) is None:
                    raise invalid(f"{THINGS[target].singular.replace('_', ' ').capitalize()} must exist", field)
        if plural in ("time_entries", "expenses"):
            self._owned(plural, values, before)
        if plural == "workspaces":
            _workspace(values)
        if plural == "custom_field_values":
            self._custom(values)
        return values

    def _owned(self, plural: str, values: Doc, before: Doc | None) -> None:
        if before is None and (not self.finance or not values.get("user_id")):
            values["user_id"] = self.me
        elif before is not None and not self.finance:
            values.pop("user_id", None)
        if plural == "expenses" and "billable" in values:
            values["is_billable"] = values.pop("billable")
        minutes = values.get("time_in_minutes")
        if minutes is not None and minutes < 0:
            raise invalid("Time in minutes must be greater than or equal to 0", "time_in_minutes")

    def _custom(self, values: Doc) -> None:
        """A custom value has its field's type and is one of its choices."""
        spec = self.store.get(SYSTEM, "custom_fields", str(values.get("custom_field_id")))
        if spec is None:
            return
        value: Any = values.get("value")
        kind: str = spec["value_type"]
        fits = value is None or (isinstance(value, _TYPES[kind]) and not isinstance(value, bool))
        if not fits:
            raise invalid(f"Value is not a {kind}", "value")
        known = {str(one["id"]) for one in spec.get("choices", [])}
        if kind in ("single", "multi") and not {str(one) for one in value or []} <= known:
            raise invalid("Value is not a choice of this custom field", "value")
        if "subject_id" in values:
            values["subject_id"] = str(values["subject_id"])
            values["subject"] = f"{values['subject_type']} {values['subject_id']}"

    def _defaults(self, plural: str, values: Doc) -> Doc:
        if plural == "workspaces":
            currency = values.get("currency") or "USD"
            return {"currency": currency, "currency_base_unit": base_unit(currency), "archived": False, "workspace_group_ids": [],
                    "status": {"color": "green", "key": "active", "message": "Active"}, "primary_maven_id": self.me}  # fmt: skip
        if plural in ("time_entries", "expenses"):
            project = self.found("workspaces", str(values["workspace_id"]))
            shared = {"currency": project["currency"], "currency_base_unit": base_unit(project["currency"]), "approved": False,
                      "is_invoiced": False, "taxable": False}  # fmt: skip
            return (
                {**shared, "billable": True, "notes": None}
                if plural == "time_entries"
                else {**shared, "is_billable": True}
            )
        if plural == "stories":
            return {"state": "not started", "billable": True, "archived": False, "deleted_at": None, "assignee_ids": []}
        if plural == "workspace_groups":
            return {"company": False, "workspace_ids": []}
        return {}

    # ------------------------------------------------------------------ what hangs on a row
    def _inline(self, plural: str, id: str, custom: Any, crew: Any) -> None:
        for one in custom or []:
            about = {"subject_type": THINGS[plural].subject, "subject_id": id, **one}
            same = [row for row in self.store.keyed(SYSTEM, "custom_field_values", "subject", f"{about['subject_type']} {id}")
                    if row["custom_field_id"] == str(one.get("custom_field_id"))]  # fmt: skip
            if same:
                self.change("custom_field_values", same[0]["id"], about)
            else:
                self.make("custom_field_values", about)
        if crew is not None and plural == "stories":
            for row in self.store.keyed(SYSTEM, "assignments", "story_id", id):
                self.remove("assignments", row["id"])
            for one in crew:
                self.make("assignments", {**one, "story_id": id})
            story = self.found("stories", id)
            self.store.put(SYSTEM, "stories", id, {**story, "assignee_ids": [str(one["assignee_id"]) for one in crew]})

    def refer(self, fields: Doc) -> Doc:
        """Make or change the reference of a subject in one service."""
        for name in THINGS["external_references"].required:
            if not fields.get(name):
                raise invalid(f"{name.replace('_', ' ').capitalize()} can't be blank", name)
        if fields["subject_type"] not in SUBJECTS:
            raise invalid("Subject type is not included in the list", "subject_type")
        subject = str(fields["subject_id"])
        if self.store.get(SYSTEM, SUBJECTS[fields["subject_type"]], subject) is None:
            raise invalid("Subject must exist", "subject_id")
        if fields.get("status") not in (None, "pending", "successful", "failed"):
            raise invalid("Status is not included in the list", "status")
        about, at = f"{fields['subject_type']} {subject}", self.stamp()
        mine = self.store.keyed(SYSTEM, "external_references", "subject", about)
        same = next((one for one in mine if one["service_name"] == fields["service_name"]), None)
        id = same["id"] if same else str(self.store.next_id("kantata external_references", 1))
        kept = {
            **fields,
            "service_model_ref": str(fields["service_model_ref"]),
            "subject_id": subject,
            "subject": about,
        }
        doc = {"id": id, "status": "pending", "created_at": at, **(same or {}), **kept, "updated_at": at}
        self.store.put(SYSTEM, "external_references", id, doc)
        self.store.note(SYSTEM, "external_references", "update" if same else "create", id, fields)
        return doc

    def _event(self, plural: str, what: str, before: Doc | None, after: Doc | None) -> None:
        """A row of the change feed."""
        if not THINGS[plural].event:
            return
        thing, row = THINGS[plural], after or before or {}
        old, new = before or {}, after or {}
        changes = {name: [old.get(name), new.get(name)] for name in {**old, **new} if old.get(name) != new.get(name)}
        id, at = str(self.store.next_id("kantata subscribed_events", 1)), self.stamp()
        self.store.put(SYSTEM, "subscribed_events", id, {
            "id": id, "event_type": f"{thing.singular}:{what}", "account_id": "1", "user_id": self.me, "subject_id": row["id"],
            "subject_type": thing.subject or "".join(word.title() for word in thing.singular.split("_")),
            "subject_ref": None if what == "deleted" else {"key": plural, "id": row["id"]}, "subject_changed_at": at,
            "created_at": at, "updated_at": at, "previous_payload": before, "current_payload": after, "payload_changes": changes,
        })  # fmt: skip


def _workspace(values: Doc) -> None:
    if "status_key" in values:
        key = str(values.pop("status_key"))
        values["status"] = {"color": "green", "key": key, "message": key.replace("_", " ").title()}
    if values.get("creator_role") not in (None, "maven", "buyer"):
        raise Fault(422, "validation", "Creator role is not included in the list", "creator_role")
    if values.get("currency"):
        values["currency_base_unit"] = base_unit(values["currency"])
