"""The fake Salesforce: paths to functions, sessions, the daily allocation, and the door for a user's edits."""

from __future__ import annotations

import re
import secrets
import threading
from typing import Any

from connectors.sandbox.salesforce import describe
from connectors.sandbox.salesforce.auth import CREDENTIALS, Tokens
from connectors.sandbox.salesforce.bulk import Bulk
from connectors.sandbox.salesforce.composite import Composite
from connectors.sandbox.salesforce.errors import Fault, not_found
from connectors.sandbox.salesforce.fields import spelled
from connectors.sandbox.salesforce.objects import OBJECTS, SHAPE, SYSTEM
from connectors.sandbox.salesforce.query import Bound, aggregated
from connectors.sandbox.salesforce.rows import Rows
from connectors.sandbox.salesforce.soql import parse
from connectors.sandbox.server import Reply, Request
from connectors.sandbox.store import Doc, Store

PAGE, SMALLEST, CURSORS = 2000, 200, 50
_VERSION = re.compile(r"v(\d+)\.0")


class Salesforce:
    """The system. allocation: calls a day until REQUEST_LIMIT_EXCEEDED; calls: those made."""

    CREDENTIALS = CREDENTIALS
    SHAPE = SHAPE

    def __init__(self, store: Store) -> None:
        self.store, self.url = store, ""
        self.tokens, self.rows = Tokens(), Rows(store)
        self.composite, self.bulk = Composite(self.rows, self.routed), Bulk(self.rows)
        self.calls, self.allocation = 0, 100_000
        self._lock = threading.Lock()
        self._cursors: dict[str, tuple[Bound, list[str], int]] = {}

    def expire_tokens(self) -> None:
        self.tokens.expire()

    def handle(self, request: Request) -> Reply:
        """Answer a request."""
        if request.path == "/services/oauth2/token":
            return self.tokens.answer(request, self.url)
        if request.path.rstrip("/") == "/services/data":
            return Reply(200, describe.versions())
        if request.path.startswith("/services/data/") and self.tokens.valid(request):
            with self._lock:
                self.calls += 1
        reply = self.routed(request)
        usage = {"Sforce-Limit-Info": f"api-usage={self.calls}/{self.allocation}"}
        return Reply(reply.status, reply.body, {**reply.headers, **usage})

    def routed(self, request: Request) -> Reply:
        """Answer a call, its errors as a reply; calls inside a composite one come here too."""
        try:
            parts = request.parts
            version = _VERSION.fullmatch(parts[2]) if len(parts) > 2 else None
            if parts[:2] != ["services", "data"] or version is None:
                raise not_found()
            if int(version[1]) < describe.OLDEST or int(version[1]) > 68:
                raise Fault(
                    "UNSUPPORTED_API_VERSION",
                    f"API version {version[1]}.0 is not supported",
                    410 if int(version[1]) < 60 else 404,
                )
            if not self.tokens.valid(request):
                raise Fault("INVALID_SESSION_ID", "Session expired or invalid", 401)
            if self.calls > self.allocation:
                raise Fault("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", 403)
            return self._route(request, parts[3:], f"{version[1]}.0")
        except Fault as fault:
            return fault.reply()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return Fault("JSON_PARSER_ERROR", f"The request cannot be read: {type(error).__name__}").reply()

    def _route(self, request: Request, parts: list[str], version: str) -> Reply:
        head, rest = (parts[0], parts[1:]) if parts else ("", [])
        if not head:
            return Reply(200, {name: f"/services/data/v{version}/{name}" for name in describe.RESOURCES})
        if head == "limits":
            return Reply(200, describe.limits(self.allocation, max(0, self.allocation - self.calls)))
        if head in ("query", "queryAll"):
            return self._next(rest[0]) if rest else self._query(request, head == "queryAll", version)
        if head == "composite":
            return self.composite.handle(request, rest)
        if head == "jobs" and rest:
            return self.bulk.handle(request, rest, version)
        if head == "sobjects":
            return self._sobjects(request, rest, version)
        raise not_found()

    # ------------------------------------------------------------------ queries
    def _query(self, request: Request, deleted: bool, version: str) -> Reply:
        bound = Bound(self.store, parse(request.query.get("q", "")), deleted)
        bound.version = version
        if bound.counted:
            return Reply(200, {"totalSize": len(bound.rows()), "done": True, "records": []})
        if bound.grouped:
            records = list(aggregated(bound))
            return Reply(200, {"totalSize": len(records), "done": True, "records": records})
        asked = re.search(r"batchSize=(\d+)", request.headers.get("sforce-query-options", ""))
        size = min(PAGE, max(SMALLEST, int(asked[1]))) if asked else PAGE
        if bound.wide:
            size = SMALLEST
        rows = bound.rows()
        key = secrets.token_hex(9)
        if len(rows) > size:
            with self._lock:
                self._cursors = {
                    **dict(list(self._cursors.items())[-CURSORS:]),
                    key: (bound, [row["Id"] for row in rows], size),
                }
        return self._page(bound, rows[:size], len(rows), f"{key}-{size}" if len(rows) > size else None)

    def _next(self, locator: str) -> Reply:
        key, _, start = locator.removeprefix("01g").rpartition("-")
        if key not in self._cursors or not start.isdigit():
            raise Fault("INVALID_QUERY_LOCATOR", "invalid query locator")
        bound, ids, size = self._cursors[key]
        end = int(start) + size
        rows = self.store.many(SYSTEM, bound.object, ids[int(start) : end], deleted=True)
        return self._page(bound, rows, len(ids), f"{key}-{end}" if end < len(ids) else None)

    def _page(self, bound: Bound, rows: list[Doc], total: int, more: str | None) -> Reply:
        body: Doc = {"totalSize": total, "done": more is None}
        if more:
            body["nextRecordsUrl"] = f"/services/data/v{bound.version}/query/01g{more}"
        return Reply(200, {**body, "records": [self._record(bound, row) for row in rows]})

    def _record(self, bound: Bound, row: Doc) -> Doc:
        """A row with its attributes, parents nested, child queries as lists."""
        found: Doc = {"attributes": self._attributes(bound.object, row["Id"], bound.version)}
        for column in bound.columns:
            if isinstance(column, Bound):
                found[column.name] = self._children(column, row["Id"], bound.version)
                continue
            if "." not in column:
                found[column] = row.get(column)
                continue
            here, object, parent = found, bound.object, row
            *relations, name = column.split(".")
            for relation in relations:
                field = next(one for one in OBJECTS[object].values() if one.relation == relation)
                object = str(field.to)
                above = bound.parent(object, parent.get(field.name))
                if above is None:
                    here[relation] = None
                    break
                parent = above
                here = here.setdefault(relation, {"attributes": self._attributes(object, parent["Id"], bound.version)})
            else:
                here[name] = parent.get(name)
        return found

    def _children(self, column: Bound, id: str, version: str) -> Doc | None:
        column.version = version
        named = {row["Id"] for row in self.store.keyed(SYSTEM, column.object, column.link, id)}
        rows = [row for row in column.rows() if row["Id"] in named] if named else []
        records = [self._record(column, row) for row in rows]
        return {"totalSize": len(records), "done": True, "records": records} if records else None

    @staticmethod
    def _attributes(object: str, id: str, version: str) -> Doc:
        return {"type": object, "url": f"/services/data/v{version}/sobjects/{object}/{id}"}

    # ------------------------------------------------------------------ rows
    def _sobjects(self, request: Request, parts: list[str], version: str) -> Reply:
        if not parts:
            listed = [describe.outline(name, version) for name in OBJECTS]
            return Reply(200, {"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": listed})
        object, rest = parts[0], parts[1:]
        self.rows.fields(object)
        if not rest:
            if request.method == "POST":
                return Reply(201, {"id": self.rows.create(object, request.json()), "success": True, "errors": []})
            return Reply(200, {"objectDescribe": describe.outline(object, version), "recentItems": []})
        if rest == ["describe"]:
            return Reply(200, describe.whole(object, version))
        if rest[0] in ("deleted", "updated") and len(rest) == 1:
            return Reply(200, self.rows.feed(object, rest[0], request.query))
        if len(rest) == 2:
            return self._external(request, object, rest[0], rest[1], version)
        return self._row(request, object, self.rows.found(object, rest[0]), version)

    def _row(self, request: Request, object: str, doc: Doc, version: str) -> Reply:
        if request.method == "GET":
            names = [name for name in request.query.get("fields", "").split(",") if name] or list(OBJECTS[object])
            wrong = [name for name in names if name not in OBJECTS[object]]
            if wrong:
                raise Fault("INVALID_FIELD", f"No such column '{wrong[0]}' on sobject of type {object}", fields=wrong)
            return Reply(
                200,
                {"attributes": self._attributes(object, doc["Id"], version), **{name: doc.get(name) for name in names}},
            )
        if request.method == "PATCH":
            self.rows.update(object, doc["Id"], request.json(), request.headers.get("if-unmodified-since"))
            return Reply(204)
        if request.method == "DELETE":
            self.rows.delete(object, doc["Id"])
            return Reply(204)
        raise Fault(
            "METHOD_NOT_ALLOWED", f"HTTP Method '{request.method}' not allowed. Allowed are DELETE,GET,PATCH", 405
        )

    def _external(self, request: Request, object: str, name: str, value: str, version: str) -> Reply:
        hits = self.rows.where(object, name, value)
        if len(hits) > 1:
            return Reply(300, [f"/services/data/v{version}/sobjects/{object}/{one['Id']}" for one in hits])
        if request.method == "PATCH":
            only = request.query.get("updateOnly") == "true"
            id, created = self.rows.upsert(object, name, value, request.json(), only)
            return Reply(201 if created else 200, {"id": id, "success": True, "errors": [], "created": created})
        if not hits:
            raise not_found()
        return self._row(request, object, hits[0], version)

    # ------------------------------------------------------------------ a user's hand
    def edit(self, object: str, id: str, fields: Doc) -> None:
        """A user's change: no validation, not journaled; the stamps move."""
        with self.store.writing():
            doc = self.store.get(SYSTEM, object, id)
            if doc is None:
                raise KeyError(id)
            at = spelled(self.store.clock.now())
            doc = self.rows.derived(object, {**doc, **fields, "LastModifiedDate": at, "SystemModstamp": at}, fields)
            self.store.put(SYSTEM, object, id, doc)

    def add(self, object: str, fields: Doc) -> str:
        """A user's new row, validated."""
        return self.rows.create(object, fields)

    def delete(self, object: str, id: Any) -> None:
        """A user deletes a row."""
        self.rows.delete(object, id)
