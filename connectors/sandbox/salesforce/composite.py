"""The composite family: collections of rows, up to 25 calls in one that may refer to each other, batches of calls."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlsplit

from connectors.sandbox.salesforce.errors import Fault, not_found
from connectors.sandbox.salesforce.objects import SYSTEM, object_of
from connectors.sandbox.salesforce.rows import Rows
from connectors.sandbox.server import Reply, Request
from connectors.sandbox.store import Doc
from engine.sdk.record import encode_json

MOST, CALLS, READS = 200, 25, 2000
ROLLED_BACK = Fault("ALL_OR_NONE_OPERATION_ROLLED_BACK", "Record rolled back because not all records were valid and the request was "
                    "using AllOrNone header")  # fmt: skip
HALTED = Fault(
    "PROCESSING_HALTED", "The transaction was rolled back since another operation in the same transaction failed."
)
_REFERENCE = re.compile(r"@\{(\w+)\.([\w.\[\]]+)\}")
Route: TypeAlias = Callable[[Request], Reply]


class _Undo(Exception):
    """Leaves the transaction, so that everything in it is undone."""


class Composite:
    """Several writes at once. route: answers one call, errors as replies."""

    def __init__(self, rows: Rows, route: Route) -> None:
        self.rows, self.store, self.route = rows, rows.store, route

    def handle(self, request: Request, rest: list[str]) -> Reply:
        """/composite/…"""
        if rest[:1] == ["sobjects"]:
            return self._collection(request, rest[1:])
        if request.method != "POST":
            raise Fault("METHOD_NOT_ALLOWED", f"HTTP Method '{request.method}' not allowed", 405)
        if not rest:
            return self._chain(request)
        if rest == ["batch"]:
            return self._batch(request)
        raise not_found()

    # ------------------------------------------------------------------ collections
    def _collection(self, request: Request, rest: list[str]) -> Reply:
        if request.method == "POST" and len(rest) == 1:
            return self._read(rest[0], request.json())
        if request.method == "DELETE":
            items: list[Any] = [id for id in request.query.get("ids", "").split(",") if id]
            strict = request.query.get("allOrNone") == "true"
        else:
            body = request.json()
            items, strict = body.get("records"), bool(body.get("allOrNone"))
            if not isinstance(items, list):
                raise Fault("JSON_PARSER_ERROR", "records is missing or not a list")
        if len(items) > MOST:
            raise Fault(
                "EXCEEDED_MAX_SIZE_REQUEST",
                f"record limit reached. cannot submit more than {MOST} records into this request",
            )
        doubled = self._doubled(items, rest[1]) if len(rest) == 2 else set()
        results: list[Doc] = []
        try:
            with self.store.writing():
                for one in items:
                    results.append(self._item(request.method, rest, one, doubled))
                if strict and not all(one["success"] for one in results):
                    raise _Undo
        except _Undo:
            results = [ROLLED_BACK.item() if one["success"] else one for one in results]
        return Reply(200, results)

    @staticmethod
    def _doubled(items: list[Any], name: str) -> set[str]:
        """External ids that more than one item of the call has."""
        values = [str(one.get(name)).casefold() for one in items if one.get(name)]
        return {one for one in values if values.count(one) > 1}

    def _item(self, method: str, rest: list[str], one: Any, doubled: set[str]) -> Doc:
        try:
            if method == "DELETE":
                self.rows.delete(object_of(one) or "", one)
                return {"id": one, "success": True, "errors": []}
            object = one["attributes"]["type"]
            self.rows.fields(object, "INVALID_TYPE")
            values = {key: value for key, value in one.items() if key not in ("attributes", "id", "Id")}
            if len(rest) == 2:
                return self._upsert(object, rest, one, values, doubled)
            if method == "POST":
                if one.get("id"):
                    raise Fault("INVALID_FIELD_FOR_INSERT_UPDATE", "cannot specify Id in an insert call", fields=["Id"])
                return {"id": self.rows.create(object, values), "success": True, "errors": []}
            id = one.get("id") or one.get("Id")
            if not id:
                raise Fault("MISSING_ARGUMENT", "Id not specified in an update call", fields=["Id"])
            self.rows.update(object, id, values)
            return {"id": id, "success": True, "errors": []}
        except Fault as fault:
            return fault.item()

    def _upsert(self, object: str, rest: list[str], one: Doc, values: Doc, doubled: set[str]) -> Doc:
        if object != rest[0]:
            raise Fault("INVALID_TYPE", f"record type {object} does not match {rest[0]}")
        key = values.pop(rest[1], one.get("Id") or one.get("id") if rest[1] == "Id" else None)
        if key in (None, ""):
            raise Fault("MISSING_ARGUMENT", f"{rest[1]} not specified", fields=[rest[1]])
        if str(key).casefold() in doubled:
            raise Fault("DUPLICATE_VALUE", f"Duplicate external id specified: {key}", fields=[rest[1]])
        id, created = self.rows.upsert(object, rest[1], key, values)
        return {"id": id, "success": True, "errors": [], "created": created}

    def _read(self, object: str, body: Doc) -> Reply:
        fields, ids = self.rows.fields(object), body["ids"]
        if len(ids) > READS:
            raise Fault("EXCEEDED_MAX_SIZE_REQUEST", f"no more than {READS} ids")
        for name in body["fields"]:
            if name not in fields:
                raise Fault("INVALID_FIELD", f"No such column '{name}' on entity '{object}'")
        docs = {doc["Id"]: doc for doc in self.store.many(SYSTEM, object, ids)}
        return Reply(200, [docs.get(id) and {"attributes": {"type": object}, "Id": id, **{name: docs[id].get(name) for name in body["fields"]}}
                           for id in ids])  # fmt: skip

    # ------------------------------------------------------------------ calls in a call
    def _chain(self, request: Request) -> Reply:
        body = request.json()
        calls, strict = body.get("compositeRequest") or [], bool(body.get("allOrNone"))
        if not 1 <= len(calls) <= CALLS:
            raise Fault("BAD_REQUEST", f"1 to {CALLS} subrequests, not {len(calls)}")
        replies: list[Reply] = []
        done: dict[str, Reply] = {}
        try:
            with self.store.writing():
                for call in calls:
                    reply = self._one(request, call, done)
                    replies.append(reply)
                    done[call["referenceId"]] = reply
                    if strict and reply.status >= 400:
                        raise _Undo
        except _Undo:
            failed = len(replies) - 1
            replies = [reply if place == failed else HALTED.reply() for place, reply in enumerate(replies)]
            replies += [HALTED.reply()] * (len(calls) - len(replies))
        return Reply(200, {"compositeResponse": [
            {"body": reply.body, "httpHeaders": reply.headers, "httpStatusCode": reply.status, "referenceId": call["referenceId"]}
            for call, reply in zip(calls, replies, strict=True)]})  # fmt: skip

    def _one(self, request: Request, call: Doc, done: dict[str, Reply]) -> Reply:
        try:
            url, body = _filled(call["url"], done), _filled(call.get("body"), done)
        except Fault as fault:
            return fault.reply()
        return self.route(_inner(request, call["method"], url, body))

    def _batch(self, request: Request) -> Reply:
        body = request.json()
        calls, halt = body.get("batchRequests") or [], bool(body.get("haltOnError"))
        if not 1 <= len(calls) <= CALLS:
            raise Fault("BAD_REQUEST", f"1 to {CALLS} subrequests, not {len(calls)}")
        results: list[Doc] = []
        for call in calls:
            if halt and any(one["statusCode"] >= 400 for one in results):
                results.append(
                    {
                        "statusCode": 412,
                        "result": [{"errorCode": "BATCH_PROCESSING_HALTED", "message": "an earlier call failed"}],
                    }
                )
                continue
            reply = self.route(
                _inner(request, call["method"], "/services/data/" + call["url"].lstrip("/"), call.get("richInput"))
            )
            results.append({"statusCode": reply.status, "result": reply.body})
        return Reply(200, {"hasErrors": any(one["statusCode"] >= 400 for one in results), "results": results})


def _inner(request: Request, method: str, url: str, body: Any) -> Request:
    parts = urlsplit(url)
    data = b"" if body is None else encode_json(body)
    return Request(method.upper(), parts.path, dict(parse_qsl(parts.query)), request.headers, data, url)


def _filled(value: Any, done: dict[str, Reply]) -> Any:
    """A value with `@{reference.path}` replaced by what the earlier calls answered."""
    if isinstance(value, dict):
        return {name: _filled(one, done) for name, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, done) for one in value]
    if isinstance(value, str):
        return _REFERENCE.sub(lambda match: str(_looked(match[1], match[2], done)), value)
    return value


def _looked(reference: str, path: str, done: dict[str, Reply]) -> Any:
    reply = done.get(reference)
    if reply is None or reply.status >= 400:
        raise Fault("PROCESSING_HALTED", f"Invalid reference specified. No value for {reference}.{path} found")
    value = reply.body
    for step in re.findall(r"\w+", path):
        value = value[int(step)] if isinstance(value, list) else (value or {}).get(step)
    if value is None:
        raise Fault("PROCESSING_HALTED", f"Invalid reference specified. No value for {reference}.{path} found")
    return value
