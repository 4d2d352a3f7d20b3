"""Images: what reading a record back from a connection should give. What equals its image is nothing new there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from engine.sdk.record import Fields, decode_json, encode_json
from engine.state.store import Tx


class Image(NamedTuple):
    """Canonical fields as one object of a connection shows them.

    means: of those, the values that we know them by, where the system spells or keeps them otherwise. revision: counts
    changes; compare-and-set. delivered_at: of a write that was not read back yet, in database time.
    """

    fields: Fields
    means: Fields
    revision: int
    delivered_at: str | None

    @property
    def awaited(self) -> bool:
        """Whether it was not read back since it was written."""
        return self.delivered_at is not None

    def meaning(self, name: str, unknown: Any = None) -> Any:
        """The value that we know a field by."""
        return self.means[name] if name in self.means else self.fields.get(name, unknown)


UNKNOWN = Image({}, {}, 0, None)
Key = tuple[str, str]
"""(canonical id, part)"""


class Seen(NamedTuple):
    """What was read. revision: of the image that it was judged by; where it has moved since, that one stays."""

    canonical_id: str
    part: str
    fields: Fields
    means: Fields
    revision: int


class Written(NamedTuple):
    """What a target has: the fields as it will show them, and where that differs, as we know them.

    sent: they were written now; else the target was found to have them.
    """

    canonical_id: str
    part: str
    fields: Fields
    means: Fields
    sent: bool


def get(tx: Tx, connection: str, object: str, ids: Iterable[str]) -> dict[Key, Image]:
    """Images by (canonical id, part)."""
    sql = (
        "SELECT canonical_id, part, fields, means, revision, delivered_at FROM images "
        "WHERE connection = ? AND object = ? AND canonical_id IN (…)"
    )
    return {
        (row[0], row[1]): Image(decode_json(bytes(row[2])), decode_json(bytes(row[3])), row[4], row[5])
        for row in tx.by_keys(sql, (connection, object), ids)
    }


def delivered(tx: Tx, connection: str, object: str, rows: Sequence[Written]) -> None:
    """Fields that were written; fields that are not named keep theirs."""
    standing = get(tx, connection, object, [one.canonical_id for one in rows])
    at, values = tx.now(), []
    for one in sorted(rows, key=lambda row: row[:2]):
        known = standing.get((one.canonical_id, one.part), UNKNOWN)
        kept = {name: value for name, value in known.means.items() if name not in one.fields}
        fields, means = encode_json({**known.fields, **one.fields}), encode_json({**kept, **one.means})
        values.append(
            (one.canonical_id, connection, object, one.part, fields, means, at if one.sent else known.delivered_at)
        )
    tx.many(
        "INSERT INTO images (canonical_id, connection, object, part, fields, means, revision, delivered_at) "
        "VALUES (?, ?, ?, ?, ?, ?, 1, ?) ON CONFLICT (canonical_id, connection, object, part) DO UPDATE SET "
        "fields = excluded.fields, means = excluded.means, revision = images.revision + 1, "
        "delivered_at = excluded.delivered_at",
        values,
    )


def seen(tx: Tx, connection: str, object: str, rows: Sequence[Seen]) -> None:
    """What was read back takes the image's place, unless something was delivered since it was judged."""
    ordered = sorted(rows, key=lambda row: row[:2])
    tx.many(
        "INSERT INTO images (canonical_id, connection, object, part, fields, means, revision) "
        "VALUES (?, ?, ?, ?, ?, ?, 1) ON CONFLICT (canonical_id, connection, object, part) DO NOTHING",
        [
            (one.canonical_id, connection, object, one.part, encode_json(one.fields), encode_json(one.means))
            for one in ordered
            if one.revision == 0
        ],
    )
    tx.many(
        "UPDATE images SET fields = ?, means = ?, revision = revision + 1, delivered_at = NULL "
        "WHERE canonical_id = ? AND connection = ? AND object = ? AND part = ? AND revision = ?",
        [
            (
                encode_json(one.fields),
                encode_json(one.means),
                one.canonical_id,
                connection,
                object,
                one.part,
                one.revision,
            )
            for one in ordered
            if one.revision
        ],
    )
