"""A fake NetSuite: SuiteTalk REST records, SuiteQL, OAuth 1.0a signatures that are really verified; errors as the real one."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from oauthlib.common import Request as SignedRequest
from oauthlib.oauth1.rfc5849 import signature

from connectors.sandbox.server import Reply, Request
from connectors.sandbox.store import Doc, Shape, Store
from connectors.sandbox.suiteql import Query, SuiteQLError

SYSTEM = "netsuite"
RECORD = re.compile(r"/services/rest/record/v1/([A-Za-z]+)(?:/([^/]+))?")
FIELDS: dict[str, tuple[str, ...]] = {
    "customer": ("entityId", "companyName", "email", "phone", "url", "subsidiary", "currency", "terms", "parent", "isInactive",
                 "isPerson", "vatRegNumber", "creditLimit", "entityStatus", "addressBook", "comments"),
    "contact": ("company", "firstName", "lastName", "email", "phone", "title", "isInactive"),
    "job": ("entityId", "companyName", "parent", "startDate", "projectedEndDate", "jobBillingType", "entityStatus", "subsidiary",
            "currency", "isInactive"),
    "employee": ("entityId", "firstName", "lastName", "email", "supervisor", "department", "subsidiary", "isInactive", "hireDate"),
    "timeBill": ("employee", "customer", "caseTaskEvent", "tranDate", "hours", "item", "isBillable", "rate", "memo", "approvalStatus",
                 "department"),
    "expenseReport": ("entity", "tranDate", "tranId", "subsidiary", "expense", "memo"),
    "invoice": ("entity", "tranId", "tranDate", "dueDate", "currency", "exchangeRate", "subsidiary", "job", "terms", "otherRefNum",
                "item", "total", "amountRemaining", "status", "memo"),
    "subsidiary": ("name", "country", "currency", "isInactive"),
    "department": ("name", "subsidiary", "isInactive"),
    "currency": ("name", "symbol"),
    "term": ("name", "daysUntilNetDue"),
}  # fmt: skip
REQUIRED = {"customer": ("companyName", "subsidiary"), "contact": ("company",), "job": ("companyName", "parent"),
            "employee": ("firstName", "lastName", "subsidiary"), "timeBill": ("employee", "tranDate", "hours"),
            "invoice": ("entity", "tranDate"), "expenseReport": ("entity", "tranDate"), "subsidiary": ("name",)}  # fmt: skip
REFERENCES = {"subsidiary": "subsidiary", "terms": "term", "parent": "customer", "company": "customer", "employee": "employee",
              "department": "department", "supervisor": "employee", "job": "job"}  # fmt: skip
CLOSED_BEFORE = "2026-09-01"
"""Accounting periods before this day are closed."""


class Fault(Exception):
    """An error body: HTTP status, code, detail, path."""

    def __init__(self, status: int, code: str, detail: str, path: str | None = None) -> None:
        super().__init__(detail)
        self.status = status
        inner = {"detail": detail, "o:errorCode": code, **({"o:errorPath": path} if path else {})}
        self.body = {"type": "https://www.w3.org/Protocols/rfc2616/rfc2616-sec10.html", "title": code, "status": status,
                     "o:errorDetails": [inner]}  # fmt: skip


class NetSuite:
    """The system."""

    CREDENTIALS = {"account": "SANDBOX_SB1", "consumer_key": "sandbox-ck", "consumer_secret": "sandbox-cs", "token": "sandbox-tk",
                   "token_secret": "sandbox-ts"}  # fmt: skip

    SHAPE = Shape("lastModifiedDate")

    def __init__(self, store: Store) -> None:
        self.store, self.url = store, ""
        self.nonces: dict[str, float] = {}

    def expire_tokens(self) -> None:
        """TBA tokens do not expire."""

    def handle(self, request: Request) -> Reply:
        try:
            self.verify(request)
            return self.route(request)
        except Fault as fault:
            return Reply(fault.status, fault.body, {"Content-Type": "application/vnd.oracle.resource+json; type=error"})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            wrong = Fault(400, "INVALID_CONTENT", f"Invalid content: {type(error).__name__}")
            return Reply(400, wrong.body, {"Content-Type": "application/vnd.oracle.resource+json; type=error"})

    def verify(self, request: Request) -> None:
        """OAuth 1.0a: realm, consumer, token, timestamp, nonce, HMAC-SHA256 signature."""
        header = request.headers.get("authorization", "")
        parts = dict(re.findall(r'(\w+)="([^"]*)"', header))
        known = self.CREDENTIALS
        fresh = abs(time.time() - int(parts.get("oauth_timestamp", "0") or 0)) < 300
        nonce = parts.get("oauth_nonce", "")
        right = (
            header.startswith("OAuth ") and parts.get("realm") == known["account"] and fresh and 6 <= len(nonce) <= 64
        )
        right = (
            right
            and parts.get("oauth_consumer_key") == known["consumer_key"]
            and parts.get("oauth_token") == known["token"]
        )
        right = right and parts.get("oauth_signature_method") == "HMAC-SHA256" and nonce not in self.nonces
        if right:
            signed: Any = SignedRequest(
                request.url,
                request.method,  # type: ignore[arg-type]
                headers={"Authorization": header},
            )
            params = signature.collect_parameters(
                uri_query=signed.uri_query, headers=signed.headers, exclude_oauth_signature=True
            )
            signed.params = params
            signed.signature = dict(
                signature.collect_parameters(headers=signed.headers, exclude_oauth_signature=False)
            )["oauth_signature"]
            right = signature.verify_hmac_sha256(signed, known["consumer_secret"], known["token_secret"])
        if not right:
            raise Fault(401, "INVALID_LOGIN", "Invalid login attempt. For more details, see the Login Audit Trail.")
        self.nonces[nonce] = time.time()
        if len(self.nonces) > 10_000:
            self.nonces = {name: at for name, at in self.nonces.items() if at > time.time() - 600}

    def route(self, request: Request) -> Reply:
        if request.path == "/services/rest/system/v1/serverTime":
            return Reply(200, {"serverTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")})
        if request.path == "/services/rest/query/v1/suiteql":
            return self.suiteql(request)
        match = RECORD.fullmatch(request.path)
        if not match or match[1] not in FIELDS:
            raise Fault(404, "NONEXISTENT_ID", "The record type or path does not exist")
        kind, id = match.groups()
        if id is None:
            return self.create(request, kind) if request.method == "POST" else self.listed(request, kind)
        if request.method == "GET":
            return Reply(200, self.shown(kind, self.found(kind, id), request.query))
        if request.method == "PATCH":
            return self.update(request, kind, self.found(kind, id))
        if request.method == "PUT" and id.startswith("eid:"):
            return self.upsert(request, kind, id[4:])
        if request.method == "DELETE":
            doc = self.found(kind, id)
            self.store.put(SYSTEM, kind, doc["id"], doc, deleted=True)
            self.store.note(SYSTEM, kind, "delete", doc["id"], {})
            return Reply(204)
        raise Fault(405, "METHOD_NOT_ALLOWED", "This method is not allowed here")

    # ------------------------------------------------------------------ reads
    def found(self, kind: str, id: str) -> Doc:
        doc = self.by_external(kind, id[4:]) if id.startswith("eid:") else self.store.get(SYSTEM, kind, id)
        if doc is None:
            raise Fault(
                404, "NONEXISTENT_ID", f"The record instance does not exist. Provide a valid record instance ID. ({id})"
            )
        return doc

    def by_external(self, kind: str, value: str) -> Doc | None:
        return next((one for one in self.store.all(SYSTEM, kind) if one.get("externalId") == value), None)

    def shown(self, kind: str, doc: Doc, query: dict[str, str]) -> Doc:
        href = f"{self.url}/services/rest/record/v1/{kind}/{doc['id']}"
        expand = query.get("expandSubResources") == "true"
        body = {name: value if expand or not _sublist(value) else {"links": [{"rel": "self", "href": f"{href}/{name}"}]}
                for name, value in doc.items() if value is not None}  # fmt: skip
        return {"links": [{"rel": "self", "href": href}], **body}

    def listed(self, request: Request, kind: str) -> Reply:
        limit, offset = int(request.query.get("limit", 1000)), int(request.query.get("offset", 0))
        rows = self.store.all(SYSTEM, kind)
        items = [{"links": [{"rel": "self", "href": f"{self.url}/services/rest/record/v1/{kind}/{one['id']}"}], "id": one["id"]}
                 for one in rows[offset : offset + limit]]  # fmt: skip
        return Reply(200, {"links": [], "count": len(items), "hasMore": offset + limit < len(rows), "offset": offset,
                           "totalResults": len(rows), "items": items})  # fmt: skip

    def suiteql(self, request: Request) -> Reply:
        if "transient" not in request.headers.get("prefer", ""):
            raise Fault(400, "INVALID_PARAMETER", "The required request header 'Prefer' is missing or invalid")
        limit, offset = int(request.query.get("limit", 1000)), int(request.query.get("offset", 0))
        if limit > 1000 or offset + limit > 100_000:
            raise Fault(400, "INVALID_PARAMETER", "limit or offset is out of range")
        body = request.json()
        try:
            query = Query(body["q"], body.get("params") or [])
        except SuiteQLError as error:
            raise Fault(
                400, "INVALID_PARAMETER", f"Invalid search query. Detailed unprocessed description follows. {error}"
            ) from None
        tables = {kind.lower(): kind for kind in FIELDS}
        if query.table not in tables:
            raise Fault(400, "INVALID_PARAMETER", f"Invalid search query: record '{query.table}' was not found")
        rows = [row for row in (_flat(one) for one in self.store.all(SYSTEM, tables[query.table])) if query.test(row)]
        for name in reversed(query.order):
            rows.sort(
                key=lambda row: (
                    (len(str(row.get(name) or "")), str(row.get(name) or ""))
                    if name == "id"
                    else str(row.get(name) or "")
                )
            )
        page = rows[offset : offset + limit]
        items = [
            {"links": [], **{alias: text for name, alias in query.columns if (text := _cell(row, name)) is not None}}
            for row in page
        ]
        return Reply(200, {"links": [], "count": len(items), "hasMore": offset + limit < len(rows), "offset": offset,
                           "totalResults": len(rows), "items": items})  # fmt: skip

    # ------------------------------------------------------------------ writes
    def checked(self, request: Request, kind: str, fields: Doc, id: str | None) -> Doc:
        found: Doc = {}
        for name, value in fields.items():
            if name not in (*FIELDS[kind], "externalId") and not name.startswith("cust"):
                if request.headers.get("x-netsuite-propertynamevalidation", "warning").lower() == "error":
                    raise Fault(400, "INVALID_CONTENT", f"Unknown property name: {name}", name)
                continue  # the default: unknown names are dropped in silence
            target = REFERENCES.get(name)
            if kind == "timeBill" and name == "customer":
                target = "job"
            if (
                target
                and isinstance(value, dict)
                and value.get("id") is not None
                and self.store.get(SYSTEM, target, str(value["id"])) is None
            ):
                raise Fault(400, "INVALID_CONTENT", f"Invalid reference key {value['id']} for {name}", f"{name}.id")
            found[name] = value
        missing = [
            name
            for name in REQUIRED.get(kind, ())
            if (id is None or name in found) and found.get(name) in (None, "", {})
        ]
        if missing:
            raise Fault(400, "USER_ERROR", f"Please enter value(s) for: {', '.join(missing)}", missing[0])
        if kind in ("timeBill", "invoice") and str(found.get("tranDate", "9999")) < CLOSED_BEFORE:
            raise Fault(
                400, "USER_ERROR", "You cannot create or change a transaction in a closed accounting period", "tranDate"
            )
        if id is not None and kind == "customer" and "subsidiary" in found:
            before = self.found(kind, id).get("subsidiary")
            if before != found["subsidiary"]:
                raise Fault(400, "USER_ERROR", "The subsidiary of an entity cannot be changed", "subsidiary")
        return found

    def _location(self, kind: str, id: str) -> Reply:
        return Reply(204, None, {"Location": f"{self.url}/services/rest/record/v1/{kind}/{id}"})

    def create(self, request: Request, kind: str, external: str | None = None) -> Reply:
        with self.store.writing():
            values = self.checked(request, kind, request.json(), None)
            external = external or values.get("externalId")
            if external and self.by_external(kind, external):
                raise Fault(400, "DUP_RCRD", f"This record already exists: external id {external}")
            id = str(self.store.next_id(f"netsuite {kind}", 5000))
            self.save(kind, {"id": id, **values, **({"externalId": external} if external else {})})
            self.store.note(SYSTEM, kind, "create", id, values)
        return self._location(kind, id)

    def update(self, request: Request, kind: str, doc: Doc) -> Reply:
        with self.store.writing():
            values = self.checked(request, kind, request.json(), doc["id"])
            merged = {**doc, **{name: _merged(doc.get(name), value) for name, value in values.items()}}
            self.save(kind, merged)
            self.store.note(SYSTEM, kind, "update", doc["id"], values)
        return self._location(kind, doc["id"])

    def upsert(self, request: Request, kind: str, external: str) -> Reply:
        if not re.fullmatch(r"[\w-]+", external):
            raise Fault(400, "INVALID_PARAMETER", "The external id has characters that are not allowed")
        with self.store.writing():
            doc = self.by_external(kind, external)
            return self.create(request, kind, external) if doc is None else self.update(request, kind, doc)

    def save(self, kind: str, doc: Doc) -> None:
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.store.put(SYSTEM, kind, doc["id"], {**doc, "lastModifiedDate": at})

    def edit(self, kind: str, id: str, fields: Doc) -> None:
        """A user's change."""
        self.save(kind, {**self.found(kind, id), **fields})

    def add(self, kind: str, fields: Doc) -> str:
        id = str(self.store.next_id(f"netsuite {kind}", 5000))
        self.save(kind, {"id": id, **fields})
        return id


def _sublist(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("items"), list)


def _merged(before: Any, value: Any) -> Any:
    """A sublist merges by `line`; lines without one are added."""
    if not (_sublist(before) and _sublist(value)):
        return value
    lines = {item.get("line"): item for item in before["items"]}
    fresh = []
    for item in value["items"]:
        if item.get("line") in lines and item.get("line") is not None:
            lines[item["line"]] = {**lines[item["line"]], **item}
        else:
            fresh.append(item)
    items = [*lines.values(), *fresh]
    return {"items": [{**item, "line": number} for number, item in enumerate(items, 1)]}


def _flat(doc: Doc) -> Doc:
    """A record as SuiteQL has it: lower-case names, references as ids, instants in the account's form."""
    row: Doc = {}
    for name, value in doc.items():
        if isinstance(value, dict):
            value = value.get("id")
        row[name.lower()] = value.replace("T", " ").rstrip("Z") if name == "lastModifiedDate" else value
    return row


def _cell(row: Doc, name: str) -> str | None:
    value = row.get(name.split(":")[-1])
    if value is None or isinstance(value, list):
        return None
    if isinstance(value, bool):
        return "T" if value else "F"
    return format(value, "f") if isinstance(value, Decimal) else str(value)
