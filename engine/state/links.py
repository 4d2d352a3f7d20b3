"""The crosswalk: native id ↔ canonical id, per entity, connection and object; unique both ways among live ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from engine.state.store import Tx


class Link(NamedTuple):
    """One link. part: the element of a one-to-many mapping, '' otherwise. state: live or deleted."""

    entity: str
    connection: str
    object: str
    native_id: str
    canonical_id: str
    part: str = ""
    state: str = "live"
    run: str = ""


class Conflict(NamedTuple):
    """A link that could not be written: what was wanted and what stands there."""

    wanted: Link
    standing: Link


ALIAS = "canonical"
"""Connection and object of the link that an id leaves when its record is merged into another: what that is now."""
_COLUMNS = "entity, connection, object, native_id, canonical_id, part, state, run"


def by_native(
    tx: Tx, connection: str, entity: str, native_ids: Iterable[str], object: str | None = None
) -> dict[str, list[Link]]:
    """Live and deleted links by native id."""
    more, values = (" AND object = ?", [object]) if object else ("", [])
    sql = f"SELECT {_COLUMNS} FROM links WHERE connection = ? AND entity = ?{more} AND native_id IN (…)"
    found: dict[str, list[Link]] = {}
    for row in tx.by_keys(sql, (connection, entity, *values), native_ids):
        found.setdefault(row[3], []).append(Link(*row))
    return found


def by_canonical(
    tx: Tx, connection: str, entity: str, canonical_ids: Iterable[str], object: str | None = None
) -> dict[str, list[Link]]:
    """Links by canonical id; several where there are parts or objects."""
    more, values = (" AND object = ?", [object]) if object else ("", [])
    sql = f"SELECT {_COLUMNS} FROM links WHERE connection = ? AND entity = ?{more} AND canonical_id IN (…)"
    found: dict[str, list[Link]] = {}
    for row in tx.by_keys(sql, (connection, entity, *values), canonical_ids):
        found.setdefault(row[4], []).append(Link(*row))
    return found


def merged(tx: Tx, entity: str, ids: Iterable[str]) -> dict[str, str]:
    """What ids mean whose records were merged into others."""
    return {id: found[0].canonical_id for id, found in by_native(tx, ALIAS, entity, ids).items()}


def put(tx: Tx, links: Sequence[Link]) -> list[Conflict]:
    """Write links; the same again is fine. A different record on either side is returned, not overwritten."""
    if not links:
        return []
    links = sorted(links)  # two runs that link the same records take them in one order
    plain = f"INSERT INTO links ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    if tx.tried(plain, links):  # the usual case: all of them are new
        return []
    conflicts: list[Conflict] = []
    fresh: list[Link] = []
    groups: dict[tuple[str, str, str], list[Link]] = {}
    for link in links:
        groups.setdefault((link.connection, link.entity, link.object), []).append(link)
    for (connection, entity, object), group in groups.items():
        native = by_native(tx, connection, entity, [one.native_id for one in group], object)
        known = by_canonical(tx, connection, entity, [one.canonical_id for one in group], object)
        for link in group:
            standing = _standing(link, native, known)
            if standing is None:
                fresh.append(link)
                native.setdefault(link.native_id, []).append(link)
                known.setdefault(link.canonical_id, []).append(link)
            elif _divided(standing, link):
                fresh.append(link)
            elif (standing.native_id, standing.canonical_id, standing.part) != (
                link.native_id,
                link.canonical_id,
                link.part,
            ):
                conflicts.append(Conflict(link, standing))
            elif standing.state != link.state:
                set_state(tx, [link], link.state)
    tx.many(
        f"INSERT INTO links ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (connection, object, entity, native_id) DO UPDATE SET "
        "canonical_id = excluded.canonical_id, part = excluded.part, state = excluded.state, run = excluded.run",
        fresh,
    )
    return conflicts


def _divided(standing: Link, link: Link) -> bool:
    """Whether a record that stood for the whole now stands for a part of it, or the other way round."""
    same = (standing.native_id, standing.canonical_id) == (link.native_id, link.canonical_id)
    return same and standing.part != link.part and "" in (standing.part, link.part)


def _standing(link: Link, native: dict[str, list[Link]], known: dict[str, list[Link]]) -> Link | None:
    for one in native.get(link.native_id, ()):
        if one.state == "live" or one.canonical_id == link.canonical_id:
            return one
    for one in known.get(link.canonical_id, ()):
        if one.part == link.part and one.state == "live":
            return one
    return None


def set_state(tx: Tx, links: Sequence[Link], state: str) -> None:
    """Mark links live or deleted (a tombstone: a late event must not create the record again)."""
    tx.many(
        "UPDATE links SET state = ? WHERE connection = ? AND object = ? AND entity = ? AND native_id = ?",
        [(state, one.connection, one.object, one.entity, one.native_id) for one in links],
    )


def remove(tx: Tx, link: Link) -> None:
    """Forget a link."""
    tx.run(
        "DELETE FROM links WHERE connection = ? AND object = ? AND entity = ? AND native_id = ?",
        (link.connection, link.object, link.entity, link.native_id),
    )


def of_record(tx: Tx, canonical_id: str) -> list[Link]:
    """Every link of a canonical record."""
    sql = f"SELECT {_COLUMNS} FROM links WHERE canonical_id = ? ORDER BY connection, object, part"
    return [Link(*row) for row in tx.rows(sql, (canonical_id,))]


def of_records(tx: Tx, connection: str, object: str, canonical_ids: Iterable[str]) -> dict[str, list[Link]]:
    """Live links to one object, by canonical id, whatever the entity."""
    sql = f"SELECT {_COLUMNS} FROM links WHERE connection = ? AND object = ? AND state = 'live' AND canonical_id IN (…)"
    found: dict[str, list[Link]] = {}
    for row in tx.by_keys(sql, (connection, object), canonical_ids):
        found.setdefault(row[4], []).append(Link(*row))
    return found


def of_native(tx: Tx, connection: str, native_id: str) -> list[Link]:
    """Every link of a native id in a connection."""
    sql = f"SELECT {_COLUMNS} FROM links WHERE connection = ? AND native_id = ? ORDER BY entity, object"
    return [Link(*row) for row in tx.rows(sql, (connection, native_id))]


def of_places(tx: Tx, connection: str, object: str, native_ids: Iterable[str]) -> list[Link]:
    """Every link of these native ids to one object, whatever the entity."""
    sql = f"SELECT {_COLUMNS} FROM links WHERE connection = ? AND object = ? AND native_id IN (…)"
    return [Link(*row) for row in tx.by_keys(sql, (connection, object), native_ids)]


def count(tx: Tx, connection: str, object: str, entity: str, *, but: str = "") -> int:
    """Live links of one object, without those that the run `but` made."""
    row = tx.one(
        "SELECT count(*) FROM links WHERE connection = ? AND object = ? AND entity = ? AND state = 'live' AND run <> ?",
        (connection, object, entity, but),
    )
    return int(row[0]) if row else 0
