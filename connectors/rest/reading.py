"""Reads of a manifest: windows, pages with their stop rules, details, searches."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from connectors.rest import slices
from connectors.rest.deletes import deleted
from connectors.rest.forms import forms_of, read_forms
from connectors.rest.paging import Listing, Start
from connectors.rest.queries import bound, odata, soql, suiteql
from connectors.rest.shapes import Refusal, body_of, instant, records_of, search
from engine.sdk.connector import Batch, Read
from engine.sdk.errors import ConnectorError, Problem
from engine.sdk.manifest import ObjectSpec
from engine.sdk.manifest_requests import Detail, Page, Query, ReadSpec
from engine.sdk.record import Fields, Record, same, text_key

if TYPE_CHECKING:
    from connectors.rest.connector import RestConnector


class Reader:
    """Reads of one object."""

    def __init__(self, connector: RestConnector, name: str) -> None:
        self.connector, self.name = connector, name
        self.spec: ObjectSpec = connector.spec(name)
        self.forms = forms_of(self.spec)
        self.page: Page = (self.spec.read.page if self.spec.read else None) or connector.manifest.page

    def trouble(self, kind: Any, code: str, message: str, hint: str) -> ConnectorError:
        return ConnectorError(
            kind, Problem(code, f"{self.connector.context.name!r} {self.name}: {message}", None, hint)
        )

    def read(self, request: Read) -> Iterator[Batch]:
        """Where asked for, what was deleted; then pages of records. A record that came back after its deletion stays."""
        if request.deletes and request.keys is None and self.spec.deletes.kind == "feed":
            yield from deleted(self, request)
        read = self.spec.read
        if read is None:
            raise self.trouble("config", "C532", "cannot be read", "see `connectors describe`")
        if request.keys is not None and read.query is None and read.keys is None and self.spec.detail is not None:
            yield Batch(list(self._details([{self.spec.key[0]: key} for key in request.keys], request)))
            return
        if read.query is None and slices.params(self.spec, request.slice) is None:
            return
        for records in self._pages(read, request):
            found = (
                list(self._details(records, request))
                if self.spec.detail
                else [self.record(one, request) for one in records]
            )
            reached = found[-1].modified if found and self.spec.ordered else None
            yield Batch(found, reached)

    def record(self, value: Fields, request: Read | None = None) -> Record:
        """A record of an answer: key, modified instant, fields that were asked for and left out as null."""
        for name in self.spec.drop:
            value.pop(name, None)
        problem = read_forms(self.forms, value) if self.forms else None
        modified, spec = None, self.spec.modified
        if spec is not None:
            given = search(spec.field, value)
            zone = spec.timezone or self.connector.config.timezone
            modified = instant(given, zone) if spec.type == "instant" else None if given is None else str(given)
        for name in request.fields if request is not None else ():
            first = re.split(r"[.\[]", name)[0]
            if first.isidentifier() and first not in value:
                value[first] = None
        flag = self.spec.deletes.flag if self.spec.deletes.kind == "flag" else None
        return Record(
            text_key(value, tuple(self.spec.key)),
            value,
            modified,
            deleted=bool(flag and value.get(flag) is True),
            problem=problem,
        )

    # ------------------------------------------------------------------ pages
    def _first(self, read: ReadSpec, request: Read) -> tuple[dict[str, Any], Any]:
        """Parameters and body of the first page."""
        params: dict[str, Any] = _texts(request.query)
        window = {name: bound(at, how.format if how else "rfc3339") if at is not None else None
                  for name, at, how in (("since", request.since, read.since), ("until", request.until, read.until))}  # fmt: skip
        values = {**self.connector.values, **{name: "" if at is None else at for name, at in window.items()}}
        values |= {name: f"{{{name}}}" for name in self.page.names()}  # put in page by page
        body = body_of(windowed(read.body, window), window, values) if read.body is not None else None
        if read.query is not None:
            return self.query(read.query, params, request, None)
        for at, how in ((request.since, read.since), (request.until, read.until)):
            if at is not None and how is not None and how.param is not None:
                params[how.param] = bound(at, how.format)
        params.update(slices.params(self.spec, request.slice) or {})
        if request.keys is not None and read.keys is not None:
            params[read.keys["param"]] = read.keys.get("join", ",").join(request.keys)
        if read.fields is not None and request.fields:
            params[read.fields["param"]] = read.fields.get("join", ",").join(request.fields)
        return params, body

    def query(
        self,
        query: Query,
        params: dict[str, Any],
        request: Read | None,
        by: Fields | None,
        after: str | None = None,
    ) -> tuple[dict[str, Any], Any]:
        fields = _columns(request.fields if request else (), self.spec)
        if query.kind in ("odata4", "odata2"):
            return {**params, **odata(query, self.spec, request.fields if request else (), request, by)}, None
        if query.kind == "soql":
            return {**params, query.param: soql(query, self.spec, fields, request, by)}, None
        zone = (self.spec.modified.timezone if self.spec.modified else None) or self.connector.config.timezone
        return params, dict(suiteql(query, self.spec, request, by, zone, after))

    def _pages(self, read: ReadSpec, request: Read) -> Iterator[list[Fields]]:
        def beyond(last: str) -> Start:
            assert read.query is not None
            return self.query(read.query, _texts(request.query), request, None, after=last)

        on = beyond if read.query is not None and read.query.kind == "suiteql" else None
        listing = Listing(
            self.connector, self.name, read, read.records, self.page, self._first(read, request), request.page, on, self.spec.key[0]
        )  # fmt: skip
        for records, _ in listing:
            yield records

    # ------------------------------------------------------------------ details, searches
    def _details(self, rows: Sequence[Fields], request: Read | None) -> Iterator[Record]:
        """The whole record of each row, several at once."""
        detail = self.spec.detail
        if detail is None or not rows:
            return

        def one(row: Fields) -> Record | None:
            url = self.connector.address(detail, row)
            try:
                answer = self.connector.answered(detail.method, url, headers=detail.headers)
            except Refusal as error:
                if error.do == "missing":
                    return None  # gone since the list was made
                raise
            value = records_of(detail.record, answer)[0]
            if detail.merge:
                value = {**row, **value}
            found = self.record(value, request)
            if found.modified is None and row.get("modified"):
                zone = self.connector.config.timezone
                found.modified = instant(str(row["modified"]).replace(" ", "T"), zone)
            return found

        limit = self.connector.config.limits.concurrency
        with ThreadPoolExecutor(max_workers=max(1, limit), thread_name_prefix="detail") as pool:
            if detail.batch is not None:
                parts = [rows[start : start + detail.batch] for start in range(0, len(rows), detail.batch)]
                for found in pool.map(lambda part: self._several(detail, part, request), parts):
                    yield from found
            else:
                yield from (found for found in pool.map(one, rows) if found is not None)

    def _several(self, detail: Detail, rows: Sequence[Fields], request: Read | None) -> list[Record]:
        """The whole records of some rows in one request, in their order; those that are gone since are left out."""
        keys = [text_key(row, tuple(self.spec.key)) for row in rows]
        body = body_of(detail.body, {"ids": list(keys)}, self.connector.values) if detail.body is not None else None
        url = self.connector.address(detail, {"ids": ",".join(keys)})
        answer = self.connector.answered(detail.method, url, body=body, headers=detail.headers)
        found = {one.key: one for one in (self.record(value, request) for value in records_of(detail.record, answer))}
        return [found[key] for key in keys if key in found]

    def find(self, by: Sequence[Fields], fields: tuple[str, ...] = ()) -> list[list[Record]]:
        """One search a condition."""
        spec = self.spec.find
        if spec is None:
            raise self.trouble("config", "C532", "cannot be searched", "see `connectors describe`")
        if len(by) > 1 and (name := next(iter(by[0]), None)) and all(list(one) == [name] for one in by):
            many = spec.by[name].many if name in spec.by else None
            if many is not None:
                return self._found_many(name, [one[name] for one in by], many, Read(self.name, fields=(*fields, name)))
        return [self._found(one, Read(self.name, fields=(*fields, *one))) for one in by]

    def _found_many(self, name: str, values: Sequence[Any], many: int, request: Read) -> list[list[Record]]:
        """Several values of one field in one request."""
        spec = self.spec.find
        assert spec is not None
        hits: list[list[Record]] = [[] for _ in values]
        for start in range(0, len(values), many):
            part = values[start : start + many]
            if any("," in str(value) for value in part):  # a comma would cut one value into two
                hits[start : start + many] = [self._found({name: value}, request) for value in part]
                continue
            given = {spec.by[name].param: ",".join(map(str, part)), **spec.by[name].params}
            listing = Listing(self.connector, self.name, spec, spec.records, self.page, (given, None), many)
            rows = [row for page, _ in listing for row in page]
            records = (
                list(self._details(rows, request)) if self.spec.detail else [self.record(row, request) for row in rows]
            )
            for number, value in enumerate(part, start):
                hits[number] = [one for one in records if _equal(one.value.get(name), value)]
        return hits

    def _found(self, by: Fields, request: Read) -> list[Record]:
        spec, marker = self.spec.find, self.spec.marker
        assert spec is not None
        params: dict[str, Any] = {}
        body = None
        if spec.query is not None:
            params, body = self.query(spec.query, {}, None if spec.query.kind == "suiteql" else request, by)
        else:
            for name, value in by.items():
                if marker is not None and name == marker.field and marker.find:
                    params |= {key: text.replace("@mark", str(value)) for key, text in marker.find.items()}
                elif name in spec.by:
                    params |= {spec.by[name].param: str(value), **spec.by[name].params}
                else:
                    raise self.trouble("config", "C535", f"cannot be searched by {name!r}", f"by: {', '.join(spec.by)}")
        answer = self.connector.answered(
            spec.method, self.connector.address(spec, {}, params), body=body, headers=spec.headers
        )
        rows = records_of(spec.records, answer)
        found = list(self._details(rows, request)) if self.spec.detail else [self.record(row, request) for row in rows]
        plain = {name: value for name, value in by.items() if not (marker and name == marker.field and marker.find)}
        return [one for one in found if all(_equal(one.value.get(name), value) for name, value in plain.items())]

    def get(self, keys: Sequence[str], fields: tuple[str, ...]) -> dict[str, Record]:
        """Records by native id, in chunks."""
        found: dict[str, Record] = {}
        for start in range(0, len(keys), 100):
            for batch in self.read(Read(self.name, keys=tuple(keys[start : start + 100]), fields=fields, page=200)):
                found.update((record.key, record) for record in batch.records)
        return {key: found[key] for key in keys if key in found}


def windowed(template: Any, window: Mapping[str, Any]) -> Any:
    """A body without those elements of lists that hold an absent bound of the window."""
    absent = {f"@{name}" for name, at in window.items() if at is None}

    def holds(value: Any) -> bool:
        if isinstance(value, dict):
            return any(map(holds, value.values()))
        return any(map(holds, value)) if isinstance(value, list) else isinstance(value, str) and value in absent

    if isinstance(template, dict):
        return {name: windowed(one, window) for name, one in template.items()}
    if isinstance(template, list):
        return [windowed(one, window) for one in template if not holds(one)]
    return template


def _texts(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(value) for name, value in query.items()}


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return left.casefold() == right.casefold()
    return same(left, right) or (left is not None and str(left) == str(right))


def _columns(fields: Sequence[str], spec: ObjectSpec) -> list[str]:
    """Plain paths as columns of a query; for other expressions the name that they start with."""
    found = []
    for one in fields:
        plain = re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", one)
        found.append(one if plain else re.split(r"[.\[]", one)[0])
    return list(dict.fromkeys(one for one in found if one.replace(".", "_").isidentifier())) or list(spec.fields)
