"""The order of versions: `modified` values as text that sorts as they do, and the windows of incremental reads."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from engine.sdk.record import JSON

DIGITS = 20
_parse = datetime.fromisoformat


def zoned_moment(text: str | None) -> datetime | None:
    """When a system says that something was, as a moment; None for what is no instant with its offset."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def order_text(value: JSON, zone: ZoneInfo) -> str | None:
    """A `modified` value as text that sorts as the values do; None where it says no order.

    Instants become UTC with six decimals (one without offset is in `zone`), days stay days, counters are padded
    to 20 digits. Anything else is None, and such a record counts as newer: it is given in every window.
    """
    if value.__class__ is str:
        return _text(value, zone)
    if isinstance(value, datetime):
        return instant_text(value, zone)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool) and value >= 0:
        whole, _, rest = format(value, "f").partition(".")
        rest = rest.rstrip("0")
        return f"{whole.zfill(DIGITS)}.{rest}" if rest else whole.zfill(DIGITS)
    return None


def _text(value: str, zone: ZoneInfo) -> str | None:
    if len(value) == 20 and value[19] == "Z" and value[10] == "T":  # what most systems write
        try:
            _parse(value)
        except ValueError:
            return None
        return f"{value[:19]}.000000Z"
    if value.isascii() and value.isdigit():
        return value.zfill(DIGITS)
    try:
        if len(value) == 10:
            return date.fromisoformat(value).isoformat()
        moment = _parse(value)
    except ValueError:
        return None
    return instant_text(moment, zone)


def instant_text(moment: datetime, zone: ZoneInfo) -> str | None:
    """An instant in UTC with six decimals.

    None where it is outside the years 1 to 9999 there, and for a local time that the clocks pass twice: it cannot be
    told which of the two it is, so it must not count as older than another.
    """
    try:
        aware = moment
        if moment.tzinfo is None:
            aware = moment.replace(tzinfo=zone)
            if aware.utcoffset() != aware.replace(fold=1).utcoffset():
                return None
        return aware.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    except OverflowError:
        return None


class Window:
    """[since, until) over `order_text` values. A day lies in a window of instants if any of its moments may."""

    def __init__(self, since: str | None, until: str | None, zone: ZoneInfo) -> None:
        self._since = None if since is None else order_text(since, zone) or since
        self._until = None if until is None else order_text(until, zone) or until
        self._first = _day(self._since, zone)
        self._last = _day(self._until, zone)
        self._start, self._end = _midnight(self._since, zone), _midnight(self._until, zone)

    @property
    def day(self) -> str | None:
        """The local day in which the window begins."""
        return self._first

    def holds(self, modified: str | None) -> bool:
        """True for a record in the window, and for one that does not say when it was changed."""
        if modified is None:
            return True
        if len(modified) == 10:
            since, until = self._since, self._until
            after = since is None or modified >= (self._first or since)
            days = until is not None and len(until) == 10
            return after and (until is None or (modified < until if days else modified <= (self._last or until)))
        return (self._start is None or modified >= self._start) and (self._end is None or modified < self._end)


def _day(bound: str | None, zone: ZoneInfo) -> str | None:
    """The local day of an instant."""
    if bound is None or "T" not in bound:
        return bound if bound is not None and len(bound) == 10 else None
    return datetime.fromisoformat(bound).astimezone(zone).date().isoformat()


def _midnight(bound: str | None, zone: ZoneInfo) -> str | None:
    """The first instant of a day; other bounds as they are."""
    if bound is None or len(bound) != 10:
        return bound
    try:
        return instant_text(datetime.fromisoformat(bound), zone) or bound
    except ValueError:
        return bound
