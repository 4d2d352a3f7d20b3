"""Merging, splitting and remapping links: what moves, what stays, and what it needs to be sure of."""

from __future__ import annotations

from typing import Any

import pytest

from engine.sdk.record import decode_json, encode_json
from engine.state import canonical, images, ledger, links, relinks
from engine.state.canonical import Change
from engine.state.ledger import Delivered
from engine.state.links import Link
from engine.state.store import StaleState, Store


def link(native: str, id: str, connection: str = "crm", **more: Any) -> Link:
    return Link("client", connection, "accounts", native, id, **more)


def sent(id: str, native: str, **fields: Any) -> Delivered:
    return Delivered(id, "", b"h" * 16, encode_json(fields), native, "v1", 3, 0)


def record(id: str, **fields: Any) -> Change:
    return Change(id, 0, encode_json(fields), encode_json({name: ["crm", id, None] for name in fields}))


def fields_of(store: Store, entity: str, id: str) -> Any:
    with store.read() as tx:
        found = canonical.get(tx, entity, [id])[id]
    return found.deleted or decode_json(found.data)


def test_all_of_the_double_becomes_the_kept_record_s(store: Store) -> None:
    refs = {"project": ["client", "team.client", "clients[]", "lines[].client"]}
    with store.begin() as tx:
        links.put(
            tx, [link("1", "a"), link("2", "b", "erp"), link("3", "b", "psa"), link("4", "a", "psa", state="deleted")]
        )
        ledger.put(tx, "erp", "accounts", "erp/accounts", [sent("b", "2", name="B")])
        ledger.put(tx, "psa", "accounts", "psa/accounts", [sent("a", "4", name="dead"), sent("b", "3", name="live")])
        images.delivered(tx, "erp", "accounts", [images.Written("b", "", {"name": "B"}, {}, True)])
        canonical.put(tx, "client", [record("a", name="A", tax=None), record("b", name="B", tax="7", zip="1")], "r")
        canonical.put_matches(tx, "client", [("a", [(0, b"x" * 16)]), ("b", [(0, b"x" * 16), (1, b"y" * 16)])])
        canonical.put(tx, "project", [
            record("p", client="b", team={"client": "b"}, clients=["c", "b"], lines=[{"client": "b"}, {"client": "c"}]),
            record("q", client="c", clients=None),
        ], "r")  # fmt: skip
        canonical.put_references(tx, "project", [("p", [("client", "b")])])
        assert relinks.clashes(tx, "b", "a") == []
        assert relinks.merge(tx, "client", "b", "a", refs, "merge") == {"links": 2, "deliveries": 2, "references": 1}
    with store.read() as tx:
        assert {(one.connection, one.native_id, one.state) for one in links.of_record(tx, "a")} == {
            ("crm", "1", "live"), ("erp", "2", "live"), ("psa", "3", "live"), ("psa", "4", "deleted"), ("canonical", "b", "deleted"),
        }  # fmt: skip
        assert links.of_record(tx, "b") == [] and links.merged(tx, "client", ["b", "c"]) == {"b": "a"}
        got = {connection: decode_json(row.fields)["name"] for connection, _, _, row in ledger.of_record(tx, "a")}
        assert got == {"erp": "B", "psa": "live"}, "of two deliveries to one place that of the live link counts"
        assert images.get(tx, "erp", "accounts", ["a", "b"]).keys() == {("a", "")}
        assert canonical.match(tx, "client", [(0, b"x" * 16), (1, b"y" * 16)]) == {
            (0, b"x" * 16): ["a"],
            (1, b"y" * 16): ["a"],
        }
        assert canonical.readers(tx, "project", "client", ["a"]) == ["p"]
    assert fields_of(store, "client", "a") == {"name": "A", "tax": "7", "zip": "1"}
    assert fields_of(store, "client", "b") is True
    assert fields_of(store, "project", "p") == {
        "client": "a", "team": {"client": "a"}, "clients": ["c", "a"], "lines": [{"client": "a"}, {"client": "c"}],
    }  # fmt: skip
    assert fields_of(store, "project", "q") == {"client": "c", "clients": None}


def test_what_was_merged_twice_means_the_last_record(store: Store) -> None:
    with store.begin() as tx:
        links.put(tx, [link("1", "a"), link("2", "b", "erp"), link("3", "c", "psa")])
        relinks.merge(tx, "client", "c", "b", {}, "merge")
        relinks.merge(tx, "client", "b", "a", {}, "merge")
        assert links.merged(tx, "client", ["b", "c"]) == {"b": "a", "c": "a"}


def test_two_records_of_one_system_clash(store: Store) -> None:
    with store.begin() as tx:
        links.put(tx, [link("1", "a"), link("2", "b"), link("3", "b", part="x")])
        assert [(one.native_id, two.native_id) for one, two in relinks.clashes(tx, "b", "a")] == [("2", "1")]


def test_a_record_that_changes_at_the_same_moment_stops_a_merge(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.begin() as tx:
        links.put(tx, [link("1", "a"), link("2", "b", "erp")])
        canonical.put(tx, "client", [record("a", name="A"), record("b", name="B")], "r")
    monkeypatch.setattr(canonical, "put", lambda *_: {"a"})
    with pytest.raises(StaleState, match="R605"), store.begin() as tx:
        relinks.merge(tx, "client", "b", "a", {}, "merge")
    with store.read() as tx:
        assert [one.canonical_id for one in links.of_native(tx, "erp", "2")] == ["b"], "nothing of it happened"


def test_ids_may_change_places(store: Store) -> None:
    with store.begin() as tx:
        links.put(tx, [link("1", "a"), link("2", "b"), link("3", "c"), link("1", "z", "erp")])
        ledger.put(tx, "crm", "accounts", "crm/accounts", [sent("a", "1"), sent("b", "2")])
        assert relinks.remap(tx, "crm", "accounts", ["clients"], {"1": "2", "2": "1"}) == {"links": 2, "deliveries": 2}
    with store.read() as tx:
        known = {(one.connection, one.native_id): one.canonical_id for id in "abcz" for one in links.of_record(tx, id)}
        assert known == {("crm", "2"): "a", ("crm", "1"): "b", ("crm", "3"): "c", ("erp", "1"): "z"}
        rows = {id: row for (id, _), row in ledger.get(tx, "crm", "accounts", "crm/accounts", ["a", "b"]).items()}
        assert {id: (row.native_id, row.version, row.state) for id, row in rows.items()} == {
            "a": ("2", None, "stale"), "b": ("1", None, "stale"),
        }  # fmt: skip
