"""Reconciliations: records that a side may have alone, words that mean the same, and what explains a record without a link."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.compile.workspace import problems_of
from engine.run.runner import Runner
from engine.run.session import Options
from engine.spec.workspace import Workspace
from engine.state import reconciliations
from tests.run.reconcile_world import FILES, Systems, bill, invoice

OPEN_ONLY = "left: { connection: psa, mapping: psa/invoices, expected: \"status != 'closed'\" }"


@pytest.fixture
def world(tmp_path: Path, address: str) -> Iterator[Systems]:
    found = Systems(tmp_path, address)
    yield found
    found.close()


def expecting(world: Systems, more: str = "") -> None:
    text = textwrap.dedent(FILES["flows/nightly.yaml"]).replace(
        "left: { connection: psa, mapping: psa/invoices }", OPEN_ONLY
    )
    world.write("flows/nightly.yaml", text + more)
    world.workspace = Workspace.open(world.folder)


def test_a_record_that_need_not_be_there_is_compared_where_it_is(world: Systems) -> None:
    expecting(world)
    world.put(
        [invoice(1, status="closed"), invoice(2, status="closed", total=7), invoice(3)],
        [bill(2, state="closed"), bill(3)],
    )
    run = world.run()
    assert world.classes() == {"INV-2": "mismatch"} and world.fields() == {"INV-2": ["total"]}
    assert run["breaks"]["compared"] == 2 and run["breaks"]["equal"] == 1
    world.put(
        [invoice(1, status="closed"), invoice(2, status="closed"), invoice(3)], [bill(2, state="closed"), bill(3)]
    )
    breaks = world.run()["breaks"]
    assert {name: breaks[name] for name in ("compared", "equal", "found", "closed")} == {
        "compared": 2,
        "equal": 2,
        "found": 0,
        "closed": 1,
    }


def test_a_break_closes_once_the_record_is_no_longer_expected(world: Systems) -> None:
    expecting(world)
    world.put([invoice(1), invoice(2)], [bill(2)])
    world.run()
    assert world.classes() == {"INV-1": "missing_right"}
    world.put([invoice(1, status="closed"), invoice(2)], [bill(2)])
    assert world.run()["state"] == "succeeded" and world.breaks() == []


def test_control_totals_leave_out_what_is_not_compared(world: Systems) -> None:
    expecting(world, "totals: [{ sum: total }]\n")
    world.put(
        [invoice(1, status="closed"), invoice(2, status="closed"), invoice(3)], [bill(2, state="closed"), bill(3)]
    )
    world.run()
    with world.store.read() as tx:
        (cell,) = reconciliations.cells(tx, world.result().run)
    assert cell.sums == {"left": 201, "right": 201} and not cell.differs


def test_words_that_mean_the_same_are_equal(world: Systems) -> None:
    world.flow("compare: { status: { alike: [[open, part], [paid, settled]] } }\n")
    world.put(
        [invoice(1), invoice(2, status="paid"), invoice(3, status="paid")],
        [bill(1, state="part"), bill(2, state="settled"), bill(3)],
    )
    assert world.run()["breaks"]["equal"] == 2
    assert world.classes() == {"INV-3": "mismatch"}
    world.flow("compare: { total: { alike: [[open, part]] } }\n")
    assert [one.code for one in problems_of(world.workspace)] == ["E392"]


def test_an_exception_explains_a_record_that_was_never_delivered(world: Systems) -> None:
    """Such a record has no link: only the key of its exception says which record it is."""
    check = """checks: [{ name: noted, that: "note != 'Bad'", otherwise: "a bad one" }]\n"""
    world.write("flows/push.yaml", textwrap.dedent(FILES["flows/push.yaml"]) + check)
    world.flow("")
    world.put([invoice(1, note="Bad")], [bill(2)])
    assert world.sync().run["quarantined"] == 1
    world.run()
    assert world.classes() == {"INV-1": "in_flight", "INV-2": "missing_left"}
    found = next(one for one in world.breaks() if one.label == "INV-1")
    assert found.cause == "E430"
    assert "a bad one" in str(found.why)


def test_an_exception_of_another_object_with_the_same_key_explains_nothing(world: Systems) -> None:
    """Systems number each object from 1: a bad note 1 says nothing of invoice 1."""
    settings = textwrap.dedent(FILES["crosswalk.yaml"]).replace(
        "{ invoices: {", "{ notes: { key: id, modified: at }, invoices: {"
    )
    world.write("crosswalk.yaml", settings.replace("STATE", str(world.workspace.settings.state)))
    notes = (
        textwrap.dedent(FILES["mappings/psa/invoices.yaml"])
        .replace("psa/invoices", "psa/notes")
        .replace("object: invoices", "object: notes")
    )
    world.write("mappings/psa/notes.yaml", notes)
    push = (
        textwrap.dedent(FILES["flows/push.yaml"])
        .replace("psa/invoices", "psa/notes")
        .replace("flow: push", "flow: notes")
    )
    check = """checks: [{ name: noted, that: "note != 'Bad'", otherwise: "a bad one" }]\n"""
    world.write("flows/notes.yaml", push + check)
    world.flow("")
    world.put([invoice(1)], [bill(2)])
    world.write("psa/notes.ndjson", json.dumps(invoice(1, number="N-1", note="Bad")) + "\n")
    assert Runner(world.workspace, world.store).run("notes", Options()).run["quarantined"] == 1
    world.run()
    assert world.classes() == {"INV-1": "missing_right", "INV-2": "missing_left"}
