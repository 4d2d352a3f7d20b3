"""The fake NetSuite: paths to functions, access, concurrency, and the door for a user's edits."""

from __future__ import annotations

import threading
import time
from typing import Any

from connectors.sandbox.netsuite import catalog
from connectors.sandbox.netsuite.auth import CREDENTIALS, TOKEN_PATH, Access
from connectors.sandbox.netsuite.errors import Fault, content, missing, parameter
from connectors.sandbox.netsuite.filters import parse as parse_filter
from connectors.sandbox.netsuite.jobs import Jobs
from connectors.sandbox.netsuite.kinds import SHAPE, SYSTEM, Kind
from connectors.sandbox.netsuite.records import Records
from connectors.sandbox.netsuite.select import Plan
from connectors.sandbox.netsuite.suiteql import parse
from connectors.sandbox.netsuite.tables import Tables
from connectors.sandbox.netsuite.values import Shown
from connectors.sandbox.server import Reply, Request
from connectors.sandbox.store import Doc, Store

PAGE, REACH, BATCH_READ = 1000, 100_000, 100
SINGULAR = {"Content-Type": "application/vnd.oracle.resource+json; type=singular"}
COLLECTION = {"Content-Type": "application/vnd.oracle.resource+json; type=collection"}


class NetSuite:
    """The system. concurrency: requests answered at once; one more gets 429. hold: seconds that each takes at least."""

    CREDENTIALS = CREDENTIALS
    SHAPE = SHAPE

    def __init__(self, store: Store) -> None:
        self.store = store
        self.access, self.shown, self.tables = Access(), Shown(store), Tables(store)
        self.records, self.jobs = Records(store, self.shown), Jobs(store, self.routed)
        self.concurrency, self.hold = 15, 0.0
        self._active, self._lock = 0, threading.Lock()
        self._last: dict[Any, list[dict[str, str]]] = {}

    @property
    def url(self) -> str:
        """The address, once a server has one."""
        return self.shown.url

    @url.setter
    def url(self, value: str) -> None:
        self.shown.url = self.jobs.url = value

    def expire_tokens(self) -> None:
        """OAuth 2.0 tokens end; those of TBA do not expire."""
        self.access.expire()

    def handle(self, request: Request) -> Reply:
        """Answer a request, if not too many are being answered."""
        with self._lock:
            self._active += 1
            crowded = self._active > self.concurrency
        try:
            if crowded:
                return Fault(
                    429, "CONCURRENCY_LIMIT_EXCEEDED", "Concurrent request limit exceeded. Request blocked."
                ).reply()
            if self.hold:
                time.sleep(self.hold)
            if request.path == TOKEN_PATH:
                return self.access.token(request, self.url)
            self.access.check(request)
            if Jobs.wanted(request):
                return self.jobs.accept(request)
            if Jobs.collection(request) and request.path != "/services/rest/query/v1/suiteql":
                raise Fault(400, "INVALID_HEADER", "A batch needs the header Prefer: respond-async")
            return self.routed(request)
        except Fault as fault:
            return fault.reply()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return content(f"It cannot be read: {type(error).__name__}").reply()
        finally:
            with self._lock:
                self._active -= 1

    def routed(self, request: Request) -> Reply:
        """Answer a call, its errors as a reply; calls of jobs come here too."""
        try:
            return self._route(request, request.parts)
        except Fault as fault:
            return fault.reply()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return content(f"It cannot be read: {type(error).__name__}").reply()

    def _route(self, request: Request, parts: list[str]) -> Reply:
        if parts[:2] != ["services", "rest"]:
            raise missing(request.path)
        parts = parts[2:]
        if parts == ["system", "v1", "serverTime"]:
            return Reply(200, {"serverTime": self.store.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")})
        if parts == ["system", "v1", "governanceLimits"]:
            return Reply(
                200,
                {"accountConcurrencyLimit": self.concurrency, "accountUnallocatedConcurrencyLimit": self.concurrency},
            )
        if parts == ["query", "v1", "suiteql"] and request.method == "POST":
            return self._suiteql(request)
        if parts[:3] == ["async", "v1", "job"]:
            return self.jobs.handle(parts[3:])
        if parts[:3] == ["record", "v1", "metadata-catalog"]:
            return self._catalog(request, parts[3:])
        if parts[:2] == ["record", "v1"] and len(parts) >= 3:
            return self._record(request, self.records.kind(parts[2]), parts[3:])
        raise missing(request.path)

    # ------------------------------------------------------------------ records
    def _record(self, request: Request, kind: Kind, rest: list[str]) -> Reply:
        method = request.method
        if not rest:
            if method == "POST":
                return self.records.create(request, kind, request.json())
            if method == "GET":
                return self._list(request, kind)
        elif len(rest) == 3 and rest[1] == "!transform" and method == "POST":
            return self.records.transform(request, kind, rest[0], self.records.kind(rest[2]), request.json())
        elif len(rest) == 2 and method == "GET":
            return self._sublist(kind, rest[0], rest[1])
        elif len(rest) == 1:
            id = rest[0]
            if method == "GET":
                return Reply(200, self.shown.whole(kind, self.records.found(kind.name, id), request.query), SINGULAR)
            if method == "PATCH":
                return self.records.update(request, kind, self.records.found(kind.name, id), request.json())
            if method == "PUT" and id.startswith("eid:"):
                return self.records.upsert(request, kind, id[4:], request.json())
            if method == "DELETE":
                return self.records.delete(kind, id)
        raise Fault(405, "METHOD_NOT_ALLOWED", "This method is not allowed here")

    def _sublist(self, kind: Kind, id: str, name: str) -> Reply:
        doc = self.records.found(kind.name, id)
        if kind.type_of(name) != "lines":
            raise missing(name)
        whole = self.shown.whole(kind, doc, {"expandSubResources": "true"})
        return Reply(200, whole.get(name) or {"links": [], "count": 0, "items": [], "hasMore": False}, COLLECTION)

    def _list(self, request: Request, kind: Kind) -> Reply:
        """Ids and links; whole records only for `expandRecords` with `ids`."""
        query = request.query
        if query.get("expandRecords") == "true":
            ids = [id for id in query.get("ids", "").split(",") if id]
            if not 1 <= len(ids) <= BATCH_READ:
                raise parameter(f"ids must name 1 to {BATCH_READ} records")
            items = [self.shown.whole(kind, self.records.found(kind.name, id), query) for id in ids]
            return Reply(200, {"links": [], "count": len(items), "hasMore": False, "offset": 0, "totalResults": len(items), "items": items},
                         COLLECTION)  # fmt: skip
        limit, offset = self._window(query)
        if offset % limit:
            raise parameter("offset must be a multiple of limit")
        if query.get("q"):
            rule = parse_filter(query["q"], kind)
            ids = [doc["id"] for doc in self.store.scan(SYSTEM, kind.name) if rule(doc)]
        else:
            ids = self.store.ids(SYSTEM, kind.name)
        found: list[Doc] = [
            {"links": [{"rel": "self", "href": self.shown.href(kind.name, id)}], "id": id}
            for id in ids[offset : offset + limit]
        ]
        return self._page(request, found, limit, offset, len(ids))

    @staticmethod
    def _window(query: dict[str, str]) -> tuple[int, int]:
        try:
            limit, offset = int(query.get("limit", PAGE)), int(query.get("offset", 0))
        except ValueError:
            raise parameter("limit and offset are whole numbers") from None
        if not 1 <= limit <= PAGE or offset < 0:
            raise parameter(f"limit is 1 to {PAGE}, offset at least 0")
        return limit, offset

    def _page(self, request: Request, items: list[Doc], limit: int, offset: int, total: int) -> Reply:
        address = f"{self.url}{request.path}"
        links = [{"rel": "self", "href": f"{address}?limit={limit}&offset={offset}"}]
        more = offset + limit < total
        if more:
            links.append({"rel": "next", "href": f"{address}?limit={limit}&offset={offset + limit}"})
        if offset:
            links.append({"rel": "prev", "href": f"{address}?limit={limit}&offset={max(0, offset - limit)}"})
        return Reply(200, {"links": links, "count": len(items), "hasMore": more, "offset": offset, "totalResults": total, "items": items},
                     COLLECTION)  # fmt: skip

    def _catalog(self, request: Request, rest: list[str]) -> Reply:
        accept, select = request.headers.get("accept", ""), request.query.get("select", "")
        if rest:
            return Reply(200, catalog.schema(self.records.kind(rest[0])), {"Content-Type": "application/schema+json"})
        if "schema+json" in accept or "swagger+json" in accept:
            return Reply(200, catalog.schemas(select), {"Content-Type": accept})
        return Reply(200, catalog.listing(select, f"{self.url}/services/rest/record/v1/metadata-catalog"))

    # ------------------------------------------------------------------ SuiteQL
    def _suiteql(self, request: Request) -> Reply:
        if "transient" not in request.headers.get("prefer", ""):
            raise parameter("The required request header 'Prefer' is missing or invalid: it must be 'transient'")
        limit, offset = self._window(request.query)
        if offset + limit > REACH:
            raise parameter(f"offset and limit reach past {REACH} rows")
        body = request.json()
        text, params = body.get("q"), body.get("params") or []
        if not isinstance(text, str) or not isinstance(params, list):
            raise content("q must be text, params a list", "q")
        key = (self.store.version(), text, tuple(map(repr, params)))
        rows = self._last.get(key)
        if rows is None:
            rows = Plan(self.tables, parse(text, params)).run()
            self._last = {key: rows}
        items = [{"links": [], **row} for row in rows[offset : offset + limit]]
        return self._page(request, items, limit, offset, len(rows))

    # ------------------------------------------------------------------ a user's hand
    def edit(self, kind: str, id: str, fields: Doc) -> None:
        """A user's change: no validation, not journaled; the stamp moves."""
        with self.store.writing():
            doc = self.store.get(SYSTEM, kind, id)
            if doc is None:
                raise KeyError(id)
            self.records.save(kind, {**doc, **fields})

    def add(self, kind: str, fields: Doc) -> str:
        """A user's new record, by the rules."""
        with self.store.writing():
            return self.records.make(self.records.kind(kind), fields)

    def delete(self, kind: str, id: str) -> None:
        """A user deletes a record."""
        self.records.delete(self.records.kind(kind), id)
