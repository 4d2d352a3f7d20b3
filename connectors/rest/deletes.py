"""The feed of deleted records: its window, how far back it reaches, and up to when it has told everything."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from connectors.rest.paging import Listing
from connectors.rest.queries import bound
from connectors.rest.shapes import filled, instant, search
from engine.sdk.connector import Batch, Read
from engine.sdk.errors import ConnectorError
from engine.sdk.http import Answer
from engine.sdk.record import Record

if TYPE_CHECKING:
    from connectors.rest.reading import Reader


def deleted(reader: Reader, request: Read) -> Iterator[Batch]:
    """Tombstones since `deleted_since`, and the point from which the next read asks.

    Raises ConnectorError C536 (`cursor_lost`) where the feed does not reach back that far.
    """
    feed, since = reader.spec.deletes, request.deleted_since
    now = reader.connector.now()
    if since is None:
        yield Batch([], deleted_until=_text(now))
        return
    start = datetime.fromisoformat(since.replace("Z", "+00:00"))
    if feed.reach is not None and now - start > feed.reach:
        raise _lost(reader, since, _text(now - feed.reach))
    end = now if request.until is None else datetime.fromisoformat(request.until.replace("Z", "+00:00"))
    if feed.step is not None and end - start < feed.step:
        start = end - feed.step
    params: dict[str, Any] = {}
    for at, how in ((start, feed.since), (end, feed.until)):
        if how is not None and how.param is not None:
            params[how.param] = bound(_text(at), how.format)
    body = feed.body
    if feed.query is not None:
        window = Read(request.object, since=_text(start), until=_text(end))
        where = filled(feed.query.where, {"object": reader.name}) if feed.query.where else None
        params, body = reader.query(feed.query.model_copy(update={"where": where}), params, window, None)
    page = feed.page or reader.connector.manifest.page
    listing = Listing(
        reader.connector, f"{reader.name} (deleted)", feed.request, feed.records, page, (params, body), request.page
    )  # fmt: skip
    until = _text(end)
    for rows, answer in listing:
        earliest = _moment(reader, feed.earliest, answer)
        if earliest is not None and earliest > _text(start):
            raise _lost(reader, since, earliest)
        until = min(until, _moment(reader, feed.covered, answer) or until)
        keys = [search(feed.key, row) for row in rows]
        yield Batch([Record(str(key), {}, deleted=True, raw=b"deleted") for key in keys if key is not None])
    yield Batch([], deleted_until=until)


def _moment(reader: Reader, where: str | None, answer: Answer) -> str | None:
    return instant(search(where, answer.facts()), reader.connector.config.timezone)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _lost(reader: Reader, since: str, earliest: str) -> ConnectorError:
    told = f"deletes are told back to {earliest[:16]}Z only, and those since {since[:16]}Z are wanted"
    hint = "run the flow once with --full: it takes what is no longer there for deleted"
    return reader.trouble("cursor_lost", "C536", f"{told}: a run with --full is needed", hint)
