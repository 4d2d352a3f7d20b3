"""Lists of Kantata: filters with the defaults that hide rows, order, pages, and the envelope that all answers come in."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from connectors.sandbox.clock import instant, written
from connectors.sandbox.kantata.errors import Fault
from connectors.sandbox.kantata.things import SYSTEM, THINGS
from connectors.sandbox.server import Reply
from connectors.sandbox.store import Doc, Store

MAX_PAGE = 200
PRESENCE = {"approved": ("approved", True), "invoiced": ("is_invoiced", True), "uninvoiced": ("is_invoiced", False)}
"""Parameters that are true whatever value is sent."""


class Lists:
    """Reads of one store. everywhere: stories need `all_on_account` to be seen outside the token user's projects."""

    def __init__(self, store: Store, me: str) -> None:
        self.store, self.me, self.everywhere = store, me, True
        self._archived: tuple[tuple[float, ...], frozenset[str]] | None = None
        self._last: dict[tuple[Any, ...], list[str]] = {}

    # ------------------------------------------------------------------ which rows
    def ids(self, plural: str, query: dict[str, str]) -> list[str]:
        """Ids that a list holds, in its order. A list asked for page by page is computed once."""
        passing = ("page", "per_page", "limit", "offset", "include", "optional_fields")
        asked = tuple(sorted((name, value) for name, value in query.items() if name not in passing))
        key = (self.store.version(), plural, asked)
        ids = self._last.get(key)
        if ids is None:
            ids = self._found(plural, query)
            kept = {one: known for one, known in list(self._last.items())[-3:] if one[0] == key[0]}
            self._last = {**kept, key: ids}  # replaced whole: other threads may be reading it
        return ids

    def _found(self, plural: str, query: dict[str, str]) -> list[str]:
        name, _, way = query.get("order", THINGS[plural].order).partition(":")
        since, until = _bound(query.get("updated_after")), _bound(query.get("updated_before"))
        if self._plain(plural, query) and name == "updated_at":
            ids = self.store.ids(SYSTEM, plural, since=since, until=until, order="modified")
        else:
            rows = [(_rank(row.get(name)) if name != "id" else "", int(row["id"])) for row in self.rows(plural, query)]
            ids = [str(number) for _, number in sorted(rows)]
        return ids[::-1] if way == "desc" else ids

    def _plain(self, plural: str, query: dict[str, str]) -> bool:
        """Whether nothing but the window of modification decides, so that no row has to be read."""
        known = {"order", "page", "per_page", "limit", "offset", "include", "optional_fields", "updated_after", "updated_before",
                 "include_archived", "from_archived_workspaces", "show_archived", "on_my_account"}  # fmt: skip
        shown = {
            "workspaces": "include_archived",
            "time_entries": "from_archived_workspaces",
            "expenses": "from_archived_workspaces",
        }
        if plural in shown and query.get(shown[plural]) != "true":
            return False
        return plural != "stories" and set(query) <= known

    def rows(self, plural: str, query: dict[str, str]) -> Iterable[Doc]:
        """Rows that pass every filter, in order of id."""
        since, until = _bound(query.get("updated_after")), _bound(query.get("updated_before"))
        wanted = self._wanted(plural, query)
        rows: Iterable[Doc]
        if wanted is None:
            rows = self.store.scan(SYSTEM, plural, since=since, until=until)
        else:
            known = self.store.many(SYSTEM, plural, wanted)
            rows = (row for row in known if _within(row, "updated_at", since, until))
        made = _bound(query.get("created_after")), _bound(query.get("created_before"))
        for row in rows:
            if (
                self.visible(plural, row, query)
                and _within(row, "created_at", *made)
                and self._asked(plural, row, query)
            ):
                yield row

    def _wanted(self, plural: str, query: dict[str, str]) -> list[str] | None:
        """Ids where an index knows them: `only`, and foreign ids. None: every row is a candidate."""
        wanted: list[str] | None = None
        if "only" in query:
            wanted = [id for id in dict.fromkeys(query["only"].split(",")) if id]
        refs = query.get("external_reference_service_model_refs", query.get("external_reference_service_model_ref"))
        if refs is not None:
            if len(refs.split(",")) > 200:
                raise Fault(400, "system", "No more than 200 external_reference_service_model_refs")
            known = self._referenced(plural, query, refs.split(","))
            wanted = [id for id in wanted if id in known] if wanted is not None else sorted(known, key=int)
        for name in THINGS[plural].filters:
            if wanted is None and name in query and name in self.store.indexed(SYSTEM, plural):
                found = [
                    row["id"] for one in query[name].split(",") for row in self.store.keyed(SYSTEM, plural, name, one)
                ]
                wanted = list(dict.fromkeys(found))
        return wanted

    def _referenced(self, plural: str, query: dict[str, str], refs: list[str]) -> set[str]:
        rows = (
            row for ref in refs for row in self.store.keyed(SYSTEM, "external_references", "service_model_ref", ref)
        )
        return {row["subject_id"] for row in rows if row["subject_type"] == THINGS[plural].subject and all(
            query.get(f"external_reference_{name}", row.get(name)) == row.get(name)
            for name in ("service_name", "service_model", "status", "external_status"))}  # fmt: skip

    def visible(self, plural: str, row: Doc, query: dict[str, str]) -> bool:
        """The default filters: rows that a plain list or show hides."""
        yes = {name for name, value in query.items() if value == "true"}
        if plural == "workspaces":
            return "include_archived" in yes or not row.get("archived")
        if plural in ("time_entries", "expenses"):
            return "from_archived_workspaces" in yes or row.get("workspace_id") not in self.archived()
        if plural == "stories":
            gone = bool(row.get("deleted_at"))
            if "only_deleted" in yes or gone:
                return gone and bool(yes & {"only_deleted", "show_deleted"})
            if row.get("archived") and "show_archived" not in yes:
                return False
            if row.get("workspace_id") in self.archived() and "show_from_archived_workspaces" not in yes:
                return False
            mine = not self.everywhere or "workspace_id" in query or "only" in query
            return mine or "all_on_account" in yes
        return True

    def archived(self) -> frozenset[str]:
        """Ids of archived workspaces."""
        version = self.store.version()
        if self._archived is None or self._archived[0] != version:
            found = frozenset(row["id"] for row in self.store.scan(SYSTEM, "workspaces") if row.get("archived"))
            self._archived = version, found
        return self._archived[1]

    def _asked(self, plural: str, row: Doc, query: dict[str, str]) -> bool:
        thing = THINGS[plural]
        for name in thing.filters:
            if name in query and not _holds(row.get(name), query[name].split(",")):
                return False
        for name, source in thing.ranges.items():
            if name in query:
                first, _, last = query[name].partition(":")
                if not first <= str(row.get(source) or "") <= last:
                    return False
        if plural in ("time_entries", "expenses"):
            asked = [test for name, test in PRESENCE.items() if name in query]
            if any(bool(row.get(source)) != wanted for source, wanted in asked):
                return False
        text = query.get("search") or query.get("matching")
        label = str(row.get("title") or row.get("name") or row.get("full_name") or "").casefold()
        if text and not all(any(word.startswith(one) for word in label.split()) for one in text.casefold().split()):
            return False
        return self._linked(plural, row, query)

    def _linked(self, plural: str, row: Doc, query: dict[str, str]) -> bool:
        """Filters by whether a row has external references."""
        without = query.get("without_external_reference_service_name")
        has = query.get("has_external_references")
        if without is None and has is None:
            return True
        about = f"{THINGS[plural].subject} {row['id']}"
        known = {one["service_name"] for one in self.store.keyed(SYSTEM, "external_references", "subject", about)}
        return without not in known and (has is None or bool(known) == (has == "true"))

    # ------------------------------------------------------------------ the envelope
    def index(self, plural: str, query: dict[str, str]) -> Reply:
        """A page of a list."""
        ids = self.ids(plural, query)
        if "limit" in query or "offset" in query:
            size, start = _number(query, "limit", 20), _number(query, "offset", 0)
            page = 1 + start // max(size, 1)
        else:
            size, page = _number(query, "per_page", 20), _number(query, "page", 1)
            start = (page - 1) * size
        if not 1 <= size <= MAX_PAGE or page < 1 or start < 0:
            raise Fault(400, "system", f"per_page must be between 1 and {MAX_PAGE}, page at least 1")
        rows = self.store.many(SYSTEM, plural, ids[start : start + size])
        meta = {"count": len(ids), "page_count": -(-len(ids) // size), "page_number": page, "page_size": size}
        return self.envelope(plural, rows, query, meta)

    def envelope(self, plural: str, rows: list[Doc], query: dict[str, str], meta: Doc | None = None) -> Reply:
        """Rows with `results` in order, keyed maps, and side-loaded associations."""
        count = len(rows)
        meta = meta or {"count": count, "page_count": 1, "page_number": 1, "page_size": max(count, 20)}
        named = {name for name in query.get("include", "").split(",") if name}
        body: Doc = {
            "count": meta["count"], "meta": meta, "results": [{"key": plural, "id": row["id"]} for row in rows],
            plural: {row["id"]: self.shown(plural, row, named, query) for row in rows},
        }  # fmt: skip
        for name in sorted(named & set(THINGS[plural].links)):
            field, target = THINGS[plural].links[name]
            ids = dict.fromkeys(str(id) for row in rows for id in _several(row.get(field)))
            there = body.setdefault(target, {})
            for one in self.store.many(SYSTEM, target, ids):
                there.setdefault(one["id"], self.shown(target, one, set(), {}))
        if "external_references" in named:
            self._with_references(plural, rows, body)
        return Reply(200, body)

    def _with_references(self, plural: str, rows: list[Doc], body: Doc) -> None:
        found = body.setdefault("external_references", {})
        for row in rows:
            about = f"{THINGS[plural].subject} {row['id']}"
            mine = self.store.keyed(SYSTEM, "external_references", "subject", about)
            body[plural][row["id"]]["external_reference_ids"] = [one["id"] for one in mine]
            found.update({one["id"]: self.shown("external_references", one, set(), {}) for one in mine})

    def shown(self, plural: str, row: Doc, named: set[str], query: dict[str, str]) -> Doc:
        """A row without the association ids that were not asked for, and without what only the fake keeps."""
        hidden = {"subject", "in_archived"}
        hidden |= {field for name, (field, _) in THINGS[plural].links.items() if name not in named}
        if plural in ("stories", "custom_field_values", "subscribed_events"):
            hidden -= {"workspace_id", "custom_field_id"}
        if plural == "subscribed_events":
            wanted = set(query.get("optional_fields", "").split(","))
            hidden |= {"previous_payload", "current_payload", "payload_changes"} - wanted
        return {name: value for name, value in row.items() if name not in hidden}


def _rank(value: Any) -> str:
    """A value as text that sorts: numbers by size, nothing first."""
    number = isinstance(value, int) and not isinstance(value, bool)
    return f"{value:+025d}" if number else "" if value is None else str(value)


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _holds(value: Any, wanted: list[str]) -> bool:
    texts = {("true" if one else "false") if isinstance(one, bool) else str(one) for one in _several(value)}
    return bool(texts & set(wanted))


def _number(query: dict[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not text.isdigit():
        raise Fault(400, "system", f"{name} is not a number")
    return int(text)


def _bound(text: str | None) -> str | None:
    """A bound of a window; a date is its first moment. `+` arrives as a blank where a client did not encode it."""
    if text is None:
        return None
    try:
        if len(text) == 10:
            return written(datetime.fromisoformat(text).replace(tzinfo=UTC))
        return instant(text[:-6] + text[-6:].replace(" ", "+"))
    except ValueError:
        raise Fault(400, "system", f"{text!r} is not a date and time") from None


def _within(row: Doc, name: str, since: str | None, until: str | None) -> bool:
    if since is None and until is None:
        return True
    at = instant(row[name])
    return (since is None or at >= since) and (until is None or at < until)
