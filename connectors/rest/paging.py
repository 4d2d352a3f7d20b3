"""How a list goes on, by kind, and the rules that stop one that does not end or is cut off."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from connectors.rest.media import Media
from connectors.rest.shapes import expression, records_of, search
from engine.sdk.errors import ConnectorError, Problem
from engine.sdk.http import Answer
from engine.sdk.manifest_requests import Keyed, Page, ReadSpec, Request
from engine.sdk.record import Fields, digest

if TYPE_CHECKING:
    from connectors.rest.connector import RestConnector

MAX_PAGES = 100_000
EMPTY_PAGES = 3
Start = tuple[dict[str, Any], Any]
"""(parameters, body) of a request."""
_LINK = re.compile(r"<([^>]*)>((?:\s*;\s*[\w*-]+\s*(?:=\s*(?:\"[^\"]*\"|[^\s;,\"]+))?)*)")
_PARAM = re.compile(r";\s*([\w*-]+)\s*(?:=\s*(?:\"([^\"]*)\"|([^\s;,\"]+)))?")


class Listing:
    """One list, page by page. beyond: (last key) → a request that goes on behind it, where offsets reach only so far."""

    def __init__(
        self, connector: RestConnector, what: str, request: Request, records: str | Keyed, page: Page, start: Start, size: int,
        beyond: Callable[[str], Start] | None = None, key: str = "id",
    ) -> None:  # fmt: skip
        self.connector, self.what, self.request, self.records, self.page = connector, what, request, records, page
        self.params, self.body = start
        self.beyond, self.key = beyond, key
        self.size = min(max(size, 1), page.size.max) if page.size is not None else None
        self.given = 0
        self.media: Media = request.media if isinstance(request, ReadSpec) else "json"

    def trouble(self, kind: Any, code: str, message: str, hint: str) -> ConnectorError:
        return ConnectorError(
            kind, Problem(code, f"{self.connector.context.name!r} {self.what}: {message}", None, hint)
        )

    def __iter__(self) -> Iterator[tuple[list[Fields], Answer]]:
        page, empty, seen = self.page, 0, set()
        state: dict[str, Any] = self._first()
        url, body = self._request(state)
        for _ in range(MAX_PAGES):
            answer = self.connector.answered(
                self.request.method, url, body=body, headers=self.request.headers, media=self.media
            )
            records = records_of(self.records, answer, empty=self.connector.empty(answer))
            mark = (url, digest([body, records[:1], records[-1:]]))
            if mark in seen:
                raise self.trouble("bad_response", "C533", "a page came a second time", "see the manifest's `page`")
            seen.add(mark)
            self.given += len(records)
            empty = empty + 1 if not records else 0
            yield records, answer
            following = self._next(answer, records, state)
            if following is None:
                self._complete(answer)
                return
            if empty >= EMPTY_PAGES:
                raise self.trouble(
                    "bad_response", "C533", "three empty pages with more to come", "see the manifest's `page`"
                )
            if isinstance(following, str):
                url = self.connector.client.link(following, url)
                continue
            state.update(following)
            if page.cap is not None and self.given >= page.cap:
                state = self._behind(records)
            url, body = self._request(state)
        raise self.trouble("bad_response", "C533", f"more than {MAX_PAGES:,} pages", "narrow the read")

    def _first(self) -> dict[str, Any]:
        page, state = self.page, {}
        if page.size is not None:
            state[page.size.param] = self.size
        if page.kind == "page":
            state[page.param or "page"] = page.start
        if page.kind == "offset":
            state[page.param or "offset"] = 0
        return state

    def _request(self, state: dict[str, Any]) -> tuple[str, Any]:
        """Address and body, with the page's parameters where the manifest wants them."""
        if isinstance(self.body, str):
            text = self.body
            for name, value in state.items():
                text = text.replace(f"{{{name}}}", str(value))
            return self.connector.address(self.request, {}, self.params), text
        if self.page.place == "body":
            return self.connector.address(self.request, {}, self.params), {**(self.body or {}), **state}
        given = {name: str(value) for name, value in state.items()}
        return self.connector.address(self.request, {}, {**self.params, **given}), self.body

    def _behind(self, records: list[Fields]) -> dict[str, Any]:
        """Past the greatest offset the read goes on by key."""
        last = str(records[-1].get(self.key)) if records else None
        if last is None or (self.beyond is None and self.page.after is None):
            reach = f"has more records than its paging reaches ({self.page.cap:,})"
            raise self.trouble("truncated", "C534", reach, "narrow the read, or give `after` to the manifest's `page`")
        state = self._first()
        self.given = 0
        if self.beyond is not None:
            self.params, self.body = self.beyond(last)
        elif self.page.after is not None:
            self.params = {**self.params, self.page.after: last}
        return state

    def _next(self, answer: Answer, records: list[Fields], state: dict[str, Any]) -> dict[str, Any] | str | None:
        """Parameters or address of the next page; None at the end."""
        page, facts = self.page, answer.facts()
        if page.kind in ("next_url", "cursor"):
            found = search(page.next, facts)
            if not found or found == page.end:
                return None
            return str(found) if page.kind == "next_url" else {page.param or "cursor": found}
        if page.kind == "link_header":
            return next_link(answer.headers.get("link", ""))
        if page.kind == "none" or not self._more(facts, records):
            return None
        if page.kind == "keyset":
            return {page.param or "after": str(expression(self.key).search(records[-1]))} if records else None
        if page.kind == "page":
            return {page.param or "page": int(state[page.param or "page"]) + 1}
        return {page.param or "offset": int(state[page.param or "offset"]) + len(records)}

    def _more(self, facts: dict[str, Any], records: list[Fields]) -> bool:
        if self.page.more is not None:
            return search(self.page.more, facts) is True
        if self.page.total is not None and isinstance(total := search(self.page.total, facts), int):
            return self.given < total and bool(records)
        return bool(records) and (not self.page.full or self.size is None or len(records) >= self.size)

    def _complete(self, answer: Answer) -> None:
        total = search(self.page.total, answer.facts()) if self.page.total else None
        if isinstance(total, str) and total.isdigit():
            total = int(total)
        if isinstance(total, int) and self.given < total:
            message = f"gave {self.given} of {total} records"
            raise self.trouble("truncated", "C534", message, "run it again; rows may have moved")


def next_link(header: str) -> str | None:
    """The address that a Link header (RFC 8288) calls `next`."""
    for target, given in _LINK.findall(header):
        for name, quoted, plain in _PARAM.findall(given):
            if name.lower() == "rel" and "next" in (quoted or plain).lower().split():
                return str(target)
    return None
