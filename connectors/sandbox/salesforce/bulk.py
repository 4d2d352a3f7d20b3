"""Bulk API 2.0: ingest jobs that take a CSV and answer row by row, query jobs that give one in pieces."""

from __future__ import annotations

import csv
import io
import secrets
from decimal import Decimal
from typing import Any

from connectors.sandbox.clock import instant
from connectors.sandbox.salesforce.errors import Fault, not_found
from connectors.sandbox.salesforce.fields import spelled
from connectors.sandbox.salesforce.objects import OBJECTS, SYSTEM, spelling
from connectors.sandbox.salesforce.query import Bound
from connectors.sandbox.salesforce.rows import Rows
from connectors.sandbox.salesforce.soql import parse
from connectors.sandbox.server import Reply, Request
from connectors.sandbox.store import Doc

DELIMITERS = {"COMMA": ",", "TAB": "\t", "PIPE": "|", "SEMICOLON": ";", "CARET": "^", "BACKQUOTE": "`"}
ENDINGS = {"LF": "\n", "CRLF": "\r\n"}
MAX_BYTES = 100 * 1024 * 1024
OPERATIONS = ("insert", "update", "upsert", "delete", "hardDelete")


class Bulk:
    """Jobs of one store. polls: how often a job answers InProgress before it is done."""

    def __init__(self, rows: Rows) -> None:
        self.rows, self.store, self.polls = rows, rows.store, 0

    def handle(self, request: Request, rest: list[str], version: str) -> Reply:
        """/jobs/…"""
        kind = rest[0]
        if kind not in ("ingest", "query"):
            raise not_found()
        if len(rest) == 1:
            if request.method == "POST":
                return Reply(200, _shown(self._open(kind, request.json(), version)))
            jobs = [_shown(job) for job in self.store.scan(SYSTEM, f"job {kind}")]
            return Reply(200, {"done": True, "records": jobs, "nextRecordsUrl": None})
        job = self.store.get(SYSTEM, f"job {kind}", rest[1])
        if job is None:
            raise not_found()
        if float(version) != job["apiVersion"]:
            raise Fault("API_VERSION_MISMATCH", f"the job was made with API version {job['apiVersion']}", 409)
        if len(rest) == 2:
            return self._job(request, kind, job)
        if kind == "query":
            return self._results(request, job, rest[2])
        return self._upload(request, job) if rest[2] == "batches" else self._outcome(job, rest[2])

    def _open(self, kind: str, body: Doc, version: str) -> Doc:
        operation = body.get("operation")
        at = spelled(self.store.clock.now())
        job: Doc = {
            "id": f"750{secrets.token_hex(8)[:12]}AAA", "operation": operation, "state": "Open", "apiVersion": Decimal(version),
            "contentType": "CSV", "concurrencyMode": "Parallel", "lineEnding": body.get("lineEnding", "LF"), "polls": self.polls,
            "columnDelimiter": body.get("columnDelimiter", "COMMA"), "createdDate": at, "systemModstamp": at, "SystemModstamp": at,
        }  # fmt: skip
        if kind == "query":
            if operation not in ("query", "queryAll"):
                raise Fault("INVALIDJOB", f"operation {operation} is not a query")
            found = parse(body.get("query") or "")
            bound = Bound(self.store, found, operation == "queryAll")
            if bound.grouped or bound.counted or found.offset or not all(isinstance(one, str) for one in bound.columns):
                raise Fault(
                    "API_ERROR", "GROUP BY, OFFSET, aggregates and child queries are not allowed in bulk queries"
                )
            job |= {"object": bound.object, "query": body["query"], "state": "UploadComplete", "jobType": "V2Query"}
        else:
            if operation not in OPERATIONS:
                raise Fault("INVALIDJOB", f"operation {operation} is not one of {', '.join(OPERATIONS)}")
            self.rows.fields(body.get("object") or "", "INVALID_TYPE")
            if operation == "upsert" and not body.get("externalIdFieldName"):
                raise Fault("INVALIDJOB", "externalIdFieldName is required for upsert")
            job |= {"object": body["object"], "externalIdFieldName": body.get("externalIdFieldName"), "jobType": "V2Ingest",
                    "contentUrl": f"services/data/v{version}/jobs/ingest/{job['id']}/batches"}  # fmt: skip
        self.store.put(SYSTEM, f"job {kind}", job["id"], job)
        return job

    def _job(self, request: Request, kind: str, job: Doc) -> Reply:
        if request.method == "DELETE":
            self.store.purge(SYSTEM, f"job {kind}", job["id"])
            return Reply(204)
        if request.method == "PATCH":
            state = request.json().get("state")
            allowed = {"Aborted": ("Open", "UploadComplete", "InProgress"), "UploadComplete": ("Open",)}.get(state, ())
            if job["state"] not in allowed:
                raise Fault("INVALIDJOBSTATE", f"a job in state {job['state']} cannot become {state}")
            if state == "UploadComplete" and "data" not in job:
                raise Fault("INVALIDJOBSTATE", "no data was uploaded")
            job["state"] = state
        elif job["state"] in ("UploadComplete", "InProgress"):
            if job["polls"] > 0:
                job |= {"polls": job["polls"] - 1, "state": "InProgress"}
            else:
                self._ingest(job) if kind == "ingest" else job.update(state="JobComplete")
        self.store.put(SYSTEM, f"job {kind}", job["id"], job)
        return Reply(200, _shown(job))

    def _upload(self, request: Request, job: Doc) -> Reply:
        if request.method != "PUT" or job["state"] != "Open" or "data" in job:
            raise Fault("INVALIDJOBSTATE", "data is uploaded once, while the job is open")
        if len(request.data) > MAX_BYTES:
            raise Fault("INVALIDBATCH", "the upload is larger than 100 MB", 413)
        self.store.put(SYSTEM, "job ingest", job["id"], {**job, "data": request.data.decode("utf-8-sig")})
        return Reply(201)

    # ------------------------------------------------------------------ ingest
    def _ingest(self, job: Doc) -> None:
        """All rows, one by one; a row that fails stops none."""
        reader = csv.DictReader(io.StringIO(job["data"], newline=""), delimiter=DELIMITERS[job["columnDelimiter"]])
        header = list(reader.fieldnames or [])
        good: list[list[str]] = []
        bad: list[list[str]] = []
        keys: dict[str, int] = {}
        rows = list(reader)
        if job["operation"] == "upsert":
            for row in rows:
                key = (row.get(job["externalIdFieldName"]) or "").casefold()
                keys[key] = keys.get(key, 0) + 1
        for row in rows:
            cells = [row.get(name) or "" for name in header]
            try:
                id, created = self._row(job, row, keys)
                good.append([id, "true" if created else "false", *cells])
            except Fault as fault:
                bad.append([row.get("Id") or "", fault.row(), *cells])
        job |= {"state": "JobComplete", "numberRecordsProcessed": len(rows), "numberRecordsFailed": len(bad), "retries": 0,
                "good": _csv(job, ["sf__Id", "sf__Created", *header], good), "bad": _csv(job, ["sf__Id", "sf__Error", *header], bad)}  # fmt: skip

    def _row(self, job: Doc, row: dict[str, Any], keys: dict[str, int]) -> tuple[str, bool]:
        object, operation = job["object"], job["operation"]
        if operation in ("delete", "hardDelete"):
            self.rows.delete(object, row.get("Id") or "", hard=operation == "hardDelete")
            return str(row["Id"]), False
        values = _values(object, row)
        if operation == "insert":
            return self.rows.create(object, values), True
        if operation == "update":
            id = row.get("Id") or ""
            if not id:
                raise Fault("MISSING_ARGUMENT", "Id not specified in an update call", fields=["Id"])
            self.rows.update(object, id, values)
            return id, False
        name = job["externalIdFieldName"]
        key = row.get(name) or ""
        if not key:
            raise Fault("MISSING_ARGUMENT", f"{name} not specified", fields=[name])
        if keys[key.casefold()] > 1:
            raise Fault("DUPLICATE_VALUE", f"Duplicate external id specified: {key}", fields=[name])
        return self.rows.upsert(object, name, key, {one: value for one, value in values.items() if one != name})

    def _outcome(self, job: Doc, which: str) -> Reply:
        header = (job.get("data") or "").splitlines()[:1]
        text = {"successfulResults": job.get("good"), "failedResults": job.get("bad"),
                "unprocessedrecords": None if job["state"] == "JobComplete" else job.get("data")}  # fmt: skip
        if which not in text:
            raise not_found()
        return Reply(200, (text[which] or "\n".join(header) + "\n").encode(), {"Content-Type": "text/csv"})

    # ------------------------------------------------------------------ queries
    def _results(self, request: Request, job: Doc, which: str) -> Reply:
        if which != "results":
            raise not_found()
        if job["state"] != "JobComplete":
            raise Fault("INVALIDJOBSTATE", f"the job is {job['state']}")
        bound = Bound(self.store, parse(job["query"]), job["operation"] == "queryAll")
        rows = bound.rows()
        start = int(request.query.get("locator") or 0)
        size = int(request.query.get("maxRecords") or 50_000)
        names = [one for one in bound.columns if isinstance(one, str)]
        getters = [bound.getter(name)[0] for name in names]
        page = [[_cell(get(row)) for get in getters] for row in rows[start : start + size]]
        more = str(start + size) if start + size < len(rows) else "null"
        headers = {"Content-Type": "text/csv", "Sforce-Locator": more, "Sforce-NumberOfRecords": str(len(page))}
        return Reply(200, _csv(job, names, page).encode(), headers)


def _shown(job: Doc) -> Doc:
    hidden = ("data", "good", "bad", "polls", "SystemModstamp", "query")
    return {name: value for name, value in job.items() if name not in hidden}


def _values(object: str, row: dict[str, Any]) -> Doc:
    """Cells as fields: an empty one is left alone, #N/A is null, `Account.Ext__c` names a parent."""
    if None in row:
        raise Fault("INVALIDBATCH", "the row has more cells than the header")
    values: Doc = {}
    for header, cell in row.items():
        if header == "Id" or not cell:
            continue
        relation, _, key = header.partition(".")
        if key:
            values[relation] = {key: cell}
            continue
        name = spelling(object, header)
        if name is None:
            raise Fault("INVALIDBATCH", f"Field name not found : {header}", fields=[header])
        values[name] = None if cell == "#N/A" else OBJECTS[object][name].read(cell)
    return values


def _csv(job: Doc, header: list[str], rows: list[list[str]]) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(
        out,
        delimiter=DELIMITERS[job["columnDelimiter"]],
        lineterminator=ENDINGS[job["lineEnding"]],
        quoting=csv.QUOTE_ALL,
    )
    writer.writerows([header, *rows])
    return out.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.endswith("+0000"):
        return instant(value)
    return format(value, "f") if isinstance(value, Decimal) else str(value)
