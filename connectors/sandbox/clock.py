"""The fakes' clock: real time in UTC, unless a test moves or stops it; and instants as one sortable text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class Clock:
    """One clock for all fakes of a sandbox."""

    def __init__(self) -> None:
        self._offset = timedelta()
        self._stopped: datetime | None = None

    def now(self) -> datetime:
        """The moment, aware, in UTC."""
        return self._stopped or datetime.now(UTC) + self._offset

    def move(self, seconds: float) -> None:
        """Put the clock forward or back."""
        self._offset += timedelta(seconds=seconds)
        if self._stopped is not None:
            self._stopped += timedelta(seconds=seconds)

    def stop(self, at: datetime | None = None) -> None:
        """Every stamp is this moment from now on (without one: the present), until `go`."""
        self._stopped = (at or self.now()).astimezone(UTC)

    def go(self) -> None:
        """Real time again, with the offset that `move` left."""
        self._stopped = None


def instant(text: str) -> str:
    """Any spelling of an instant as `YYYY-MM-DDTHH:MM:SS.mmmZ` in UTC; without an offset it is UTC already.

    Raises:
        ValueError: not an instant.
    """
    if len(text) == 28 and text.endswith("+0000"):
        return text[:23] + "Z"
    if len(text) == 25 and text.endswith("+00:00"):
        return text[:19] + ".000Z"
    if len(text) == 20 and text.endswith("Z"):
        return text[:19] + ".000Z"
    return written(datetime.fromisoformat(text.strip().replace("Z", "+00:00").replace(" ", "T")))


def written(moment: datetime) -> str:
    """A moment in the form of `instant`."""
    utc = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return utc.strftime("%Y-%m-%dT%H:%M:%S.") + f"{utc.microsecond // 1000:03d}Z"
