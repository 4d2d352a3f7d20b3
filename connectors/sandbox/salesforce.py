"""A fake Salesforce: OAuth, SOQL, rows, external ids, collections, deleted feed, describe; errors as the real one."""

from __future__ import annotations

import base64
import re
import secrets
from datetime import UTC, datetime
from typing import Any

from connectors.sandbox.salesforce_fields import OBJECTS, PREFIXES, Field
from connectors.sandbox.server import Reply, Request
from connectors.sandbox.soql import SoqlError, parse, value_of
from connectors.sandbox.store import Doc, Shape, Store

SYSTEM = "salesforce"
DATA = re.compile(r"/services/data/v(\d+)\.0/(.*)")


class Fault(Exception):
    """An error body: code, message, status, fields."""

    def __init__(self, code: str, message: str, status: int = 400, fields: list[str] | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.fields = code, message, status, fields or []

    def reply(self) -> Reply:
        body: Doc = {"message": self.message, "errorCode": self.code}
        return Reply(self.status, [{**body, "fields": self.fields} if self.fields else body])

    def item(self) -> Doc:
        return {"success": False, "errors": [{"statusCode": self.code, "message": self.message, "fields": self.fields}]}


def stamp() -> str:
    """Now, as Salesforce writes instants."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{datetime.now(UTC).microsecond // 1000:03d}+0000"


class Salesforce:
    """The system."""

    CREDENTIALS = {"client_id": "sandbox-client", "client_secret": "sandbox-secret"}

    SHAPE = Shape("SystemModstamp")

    def __init__(self, store: Store) -> None:
        self.store, self.url = store, ""
        self.tokens: set[str] = set()
        self.calls, self.allocation = 0, 100_000
        self.pages: dict[str, tuple[list[Doc], int]] = {}

    def expire_tokens(self) -> None:
        self.tokens.clear()

    def handle(self, request: Request) -> Reply:
        try:
            if request.path == "/services/oauth2/token":
                return self.token(request)
            if request.path == "/services/data":
                return Reply(200, [{"label": "Winter '27", "url": "/services/data/v66.0", "version": "66.0"}])
            match = DATA.fullmatch(request.path.rstrip("/"))
            if not match:
                raise Fault("NOT_FOUND", "The requested resource does not exist", 404)
            if int(match[1]) < 31:
                raise Fault("UNSUPPORTED_API_VERSION", f"API version {match[1]} is retired", 410)
            if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
                raise Fault("INVALID_SESSION_ID", "Session expired or invalid", 401)
            self.calls += 1
            if self.calls > self.allocation:
                raise Fault("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", 403)
            reply = self.route(request, match[2].split("/"))
        except Fault as fault:
            reply = fault.reply()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reply = Fault("JSON_PARSER_ERROR", f"{type(error).__name__}: {error}").reply()
        usage = {"Sforce-Limit-Info": f"api-usage={self.calls}/{self.allocation}"}
        return Reply(reply.status, reply.body, {**reply.headers, **usage})

    def token(self, request: Request) -> Reply:
        form = request.form()
        given = (form.get("client_id"), form.get("client_secret"))
        basic = request.headers.get("authorization", "")
        if basic.startswith("Basic "):
            given = tuple(base64.b64decode(basic[6:]).decode().partition(":")[::2])  # type: ignore[assignment]
        if form.get("grant_type") != "client_credentials":
            return Reply(400, {"error": "unsupported_grant_type", "error_description": "grant type not supported"})
        if given != (self.CREDENTIALS["client_id"], self.CREDENTIALS["client_secret"]):
            return Reply(400, {"error": "invalid_client", "error_description": "invalid client credentials"})
        token = "00D" + secrets.token_hex(16)
        self.tokens.add(token)
        return Reply(200, {"access_token": token, "instance_url": self.url, "id": f"{self.url}/id/00D/005", "token_type": "Bearer",
                           "issued_at": str(int(datetime.now(UTC).timestamp() * 1000)), "signature": "x", "scope": "api"})  # fmt: skip

    def route(self, request: Request, parts: list[str]) -> Reply:
        head = parts[0]
        if head == "limits":
            return Reply(200, {"DailyApiRequests": {"Max": self.allocation, "Remaining": self.allocation - self.calls}})
        if head in ("query", "queryAll"):
            return self.next_page(request, parts[1]) if len(parts) > 1 else self.query(request, head == "queryAll")
        if head == "composite" and parts[1:2] == ["sobjects"]:
            return self.collections(request, parts[2:])
        if head == "sobjects":
            return self.sobjects(request, parts[1:])
        raise Fault("NOT_FOUND", "The requested resource does not exist", 404)

    # ------------------------------------------------------------------ queries
    def query(self, request: Request, everything: bool) -> Reply:
        try:
            found = parse(request.query.get("q", ""))
        except SoqlError as error:
            raise Fault(error.code, str(error)) from None
        fields = self.fields(found.object, "INVALID_TYPE")
        if found.columns == ["COUNT()"]:
            rows = [row for row in self.rows(found.object, everything) if found.test(row)]
            return Reply(200, {"totalSize": len(rows), "done": True, "records": []})
        if found.columns == ["FIELDS(ALL)"]:
            if found.limit is None or found.limit > 200:
                raise Fault("MALFORMED_QUERY", "The SOQL FIELDS function must have a LIMIT of at most 200")
            found.columns = list(fields)
        for name in found.fields - {"FIELDS(ALL)"}:
            self.known(found.object, name)
        rows = [row for row in self.rows(found.object, everything) if found.test(row)]
        for name, down in reversed(found.order):
            rows.sort(key=lambda row: (value_of(row, name) is not None, _sortable(value_of(row, name))), reverse=down)
        rows = rows[found.offset :][: found.limit]
        records = [self.shown(found.object, row, found.columns) for row in rows]
        options = re.search(r"batchSize=(\d+)", request.headers.get("sforce-query-options", ""))
        size = min(2000, max(200, int(options[1]))) if options else 2000
        return self.page(records, size, 0, secrets.token_hex(9))

    def page(self, records: list[Doc], size: int, start: int, key: str) -> Reply:
        done = start + size >= len(records)
        body: Doc = {"totalSize": len(records), "done": done, "records": records[start : start + size]}
        if not done:
            self.pages[key] = (records, size)
            body["nextRecordsUrl"] = f"/services/data/v66.0/query/01g{key}-{start + size}"
        return Reply(200, body)

    def next_page(self, request: Request, locator: str) -> Reply:
        key, _, start = locator.removeprefix("01g").rpartition("-")
        if key not in self.pages:
            raise Fault("INVALID_QUERY_LOCATOR", "invalid query locator")
        records, size = self.pages[key]
        return self.page(records, size, int(start), key)

    def rows(self, object: str, everything: bool = False) -> list[Doc]:
        rows = self.store.all(SYSTEM, object, deleted=everything)
        parents = {
            field.name.removesuffix("Id"): field.to
            for field in OBJECTS[object].values()
            if field.to and field.name.endswith("Id")
        }
        return [_Row(self, row, parents) for row in rows]

    def known(self, object: str, path: str) -> None:
        name, _, rest = path.partition(".")
        fields = self.fields(object)
        if rest:
            parent = fields.get(f"{name}Id")
            if parent is None or parent.to is None:
                raise Fault("INVALID_FIELD", f"Didn't understand relationship '{name}' in field path")
            self.known(parent.to, rest)
        elif name not in fields:
            raise Fault("INVALID_FIELD", f"No such column '{name}' on entity '{object}'. If you are attempting to use a custom field, "
                        "be sure to append the '__c' after the custom field name.")  # fmt: skip

    def shown(self, object: str, row: Doc, columns: list[str]) -> Doc:
        found: Doc = {"attributes": {"type": object, "url": f"/services/data/v66.0/sobjects/{object}/{row['Id']}"}}
        for path in columns:
            name, _, rest = path.partition(".")
            if rest:
                parent = row.get(name)
                inner = found.setdefault(name, {"attributes": {"type": name}} if parent else None)
                if parent and inner is not None:
                    inner[rest] = parent.get(rest)
            else:
                found[name] = row.get(name)
        return found

    # ------------------------------------------------------------------ rows
    def fields(self, object: str, code: str = "NOT_FOUND") -> dict[str, Field]:
        if object not in OBJECTS:
            raise Fault(code, f"sObject type '{object}' is not supported.", 400 if code == "INVALID_TYPE" else 404)
        return OBJECTS[object]

    def sobjects(self, request: Request, parts: list[str]) -> Reply:
        if not parts:
            return Reply(200, {"sobjects": [{"name": name, "queryable": True, "createable": True} for name in OBJECTS]})
        object, rest = parts[0], parts[1:]
        self.fields(object)
        if not rest:
            if request.method == "POST":
                return Reply(201, {"id": self.create(object, request.json()), "success": True, "errors": []})
            return Reply(200, {"objectDescribe": {"name": object}})
        if rest == ["describe"]:
            return Reply(200, {"name": object, "fields": [one.described() for one in OBJECTS[object].values()]})
        if rest[0] in ("deleted", "updated"):
            return self.feed(object, rest[0], request)
        if len(rest) == 2:
            return self.by_external(request, object, rest[0], rest[1])
        doc = self.store.get(SYSTEM, object, rest[0], deleted=True)
        if doc is None:
            raise Fault("NOT_FOUND", "Provided external ID field does not exist or is not accessible", 404)
        if doc.get("IsDeleted"):
            raise Fault("ENTITY_IS_DELETED", "entity is deleted", 404)
        if request.method == "GET":
            return Reply(200, self.shown(object, doc, list(OBJECTS[object])))
        if request.method == "PATCH":
            self.update(object, rest[0], request.json())
            return Reply(204)
        if request.method == "DELETE":
            self.delete(object, rest[0])
            return Reply(204)
        raise Fault("METHOD_NOT_ALLOWED", "HTTP Method not allowed", 405)

    def by_external(self, request: Request, object: str, name: str, value: str) -> Reply:
        spec = self.fields(object).get(name)
        if spec is None or not spec.external:
            raise Fault("NOT_FOUND", "Provided external ID field does not exist or is not accessible", 404)
        hits = self.where(object, name, value)
        if len(hits) > 1:
            return Reply(300, [f"/services/data/v66.0/sobjects/{object}/{one['Id']}" for one in hits])
        if request.method == "PATCH":
            id, created = self.upsert(object, name, value, request.json())
            return Reply(201 if created else 200, {"id": id, "success": True, "errors": [], "created": created})
        if not hits:
            raise Fault("NOT_FOUND", "The requested resource does not exist", 404)
        return Reply(200, self.shown(object, hits[0], list(OBJECTS[object])))

    def where(self, object: str, name: str, value: Any) -> list[Doc]:
        wanted = str(value).casefold()
        return [row for row in self.store.all(SYSTEM, object) if str(row.get(name) or "").casefold() == wanted]

    def upsert(self, object: str, name: str, value: str, fields: Doc) -> tuple[str, bool]:
        with self.store.writing():
            hits = self.where(object, name, value)
            if hits:
                self.update(object, hits[0]["Id"], fields)
                return str(hits[0]["Id"]), False
            return self.create(object, {**fields, name: value}), True

    def checked(self, object: str, fields: Doc, id: str | None) -> Doc:
        found: Doc = {}
        for name, value in fields.items():
            if name == "attributes":
                continue
            spec = self.fields(object).get(name)
            if spec is None:
                raise Fault("INVALID_FIELD", f"No such column '{name}' on sobject of type {object}", fields=[name])
            if spec.read_only:
                raise Fault(
                    "INVALID_FIELD_FOR_INSERT_UPDATE", f"Unable to create/update fields: {name}.", fields=[name]
                )
            found[name] = spec.check(value, Fault)
        required = [one.name for one in OBJECTS[object].values() if one.required]
        missing = [name for name in required if (id is None or name in found) and found.get(name) in (None, "")]
        if missing:
            raise Fault(
                "REQUIRED_FIELD_MISSING", f"Required fields are missing: [{', '.join(missing)}]", fields=missing
            )
        for name, value in found.items():
            if OBJECTS[object][name].unique and value is not None:
                other = next((one for one in self.where(object, name, value) if one["Id"] != id), None)
                if other:
                    raise Fault(
                        "DUPLICATE_VALUE",
                        f"duplicate value found: {name} duplicates value on record with id: {other['Id']}",
                    )
        return found

    def create(self, object: str, fields: Doc) -> str:
        with self.store.writing():
            values = self.checked(object, fields, None)
            number = self.store.next_id(f"salesforce {object}", 1)
            id = f"{PREFIXES[object]}{number:012d}AAA"
            at = stamp()
            doc = {**dict.fromkeys(OBJECTS[object]), **values, "Id": id, "CreatedDate": at, "LastModifiedDate": at,
                   "SystemModstamp": at, "IsDeleted": False}  # fmt: skip
            self.store.put(SYSTEM, object, id, doc)
            self.store.note(SYSTEM, object, "create", id, values)
        return id

    def update(self, object: str, id: str, fields: Doc) -> None:
        with self.store.writing():
            doc = self.store.get(SYSTEM, object, id)
            if doc is None:
                raise Fault("NOT_FOUND", "The requested resource does not exist", 404)
            values = self.checked(object, fields, id)
            self.store.put(
                SYSTEM, object, id, {**doc, **values, "LastModifiedDate": stamp(), "SystemModstamp": stamp()}
            )
            self.store.note(SYSTEM, object, "update", id, values)

    def delete(self, object: str, id: str) -> None:
        with self.store.writing():
            doc = self.store.get(SYSTEM, object, id)
            if doc is None:
                raise Fault("ENTITY_IS_DELETED", "entity is deleted", 404)
            self.store.put(SYSTEM, object, id, {**doc, "IsDeleted": True, "SystemModstamp": stamp()}, deleted=True)
            self.store.note(SYSTEM, object, "delete", id, {})

    def feed(self, object: str, kind: str, request: Request) -> Reply:
        start, end = request.query["start"][:19], request.query["end"][:19]
        rows = [
            one for one in self.store.all(SYSTEM, object, deleted=True) if start <= one["SystemModstamp"][:19] <= end
        ]
        if kind == "updated":
            return Reply(200, {"ids": [one["Id"] for one in rows if not one["IsDeleted"]], "latestDateCovered": end})
        gone = [{"id": one["Id"], "deletedDate": one["SystemModstamp"]} for one in rows if one["IsDeleted"]]
        return Reply(
            200,
            {"deletedRecords": gone, "earliestDateAvailable": "2000-01-01T00:00:00.000+0000", "latestDateCovered": end},
        )

    # ------------------------------------------------------------------ collections
    def collections(self, request: Request, rest: list[str]) -> Reply:
        if request.method == "DELETE":
            items: list[Any] = request.query.get("ids", "").split(",")
        else:
            body = request.json()
            items = body.get("records") or []
            if body.get("allOrNone"):
                raise Fault("NOT_SUPPORTED", "the sandbox takes allOrNone: false only")
        if len(items) > 200:
            raise Fault(
                "EXCEEDED_MAX_SIZE_REQUEST",
                "record limit reached. cannot submit more than 200 records into this request",
            )
        return Reply(200, [self.item(request.method, rest, one) for one in items])

    def item(self, method: str, rest: list[str], one: Any) -> Doc:
        try:
            if method == "DELETE":
                object = next((name for name, prefix in PREFIXES.items() if one.startswith(prefix)), "")
                self.delete(object, one)
                return {"id": one, "success": True, "errors": []}
            object = one["attributes"]["type"]
            self.fields(object, "INVALID_TYPE")
            if len(rest) == 2:
                value = one.get(rest[1])
                if not value:
                    raise Fault("MISSING_ARGUMENT", f"{rest[1]} not specified", fields=[rest[1]])
                id, created = self.upsert(
                    object, rest[1], value, {key: item for key, item in one.items() if key != rest[1]}
                )
                return {"id": id, "success": True, "errors": [], "created": created}
            if method == "POST":
                return {"id": self.create(object, one), "success": True, "errors": []}
            self.update(object, one["id"], {key: value for key, value in one.items() if key != "id"})
            return {"id": one["id"], "success": True, "errors": []}
        except Fault as fault:
            return fault.item()

    def edit(self, object: str, id: str, fields: Doc) -> None:
        """A user's change: it takes effect, but is no integration's write."""
        doc = self.store.get(SYSTEM, object, id)
        if doc is None:
            raise KeyError(id)
        self.store.put(SYSTEM, object, id, {**doc, **fields, "LastModifiedDate": stamp(), "SystemModstamp": stamp()})

    def add(self, object: str, fields: Doc) -> str:
        return self.create(object, fields)


class _Row(dict[str, Any]):
    """A row whose parents are read when a path asks for them."""

    def __init__(self, system: Salesforce, row: Doc, parents: dict[str, str]) -> None:
        super().__init__(row)
        self._system, self._parents = system, parents

    def get(self, name: str, default: Any = None) -> Any:
        if name in self._parents and name not in self:
            key = super().get(f"{name}Id")
            return self._system.store.get(SYSTEM, self._parents[name], key) if key else None
        return super().get(name, default)


def _sortable(value: Any) -> Any:
    return "" if value is None else value if not isinstance(value, bool) else int(value)
