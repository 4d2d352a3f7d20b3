"""`derive` steps that change a record that is there: exactly once, for a role that has a say, never a new record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.compile.workspace import problems_of
from engine.run import derivations
from engine.spec.workspace import Workspace
from engine.state.store import Store
from tests.conftest import Make
from tests.run.process_world import World, files
from tests.run.test_sync import SCHEMA

STEPS = """
  - derive: worth
    mapping: canonical/deal_onto_client
    role: erp
  - write: customer
    record: worth
    targets: [{ connection: erp, mapping: erp/customer, match: [[tax_id]] }]
"""
MORE = {
    "schemas/client.yaml": SCHEMA + "required: [name]\nproperties:\n  name: { type: string }\n  tax_id: { type: string }\n"
    "  worth: { type: number, x-owner: erp }\n",
    "mappings/canonical/deal_onto_client.yaml": "mapping: canonical/deal_onto_client\nof: deal\nentity: client\nonto: client\n"
    'inbound: { worth: { from: "sum([client.worth || `0`, amount])" } }\n',
    "mappings/erp/customer.yaml": "mapping: erp/customer\nobject: customers\nentity: client\n"
    "fields: { name: name, tax_id: tax, worth: { from: worth, as: decimal, on: always } }\n",
}  # fmt: skip


@pytest.fixture
def deals(make: Make) -> Iterator[World]:
    folder = make({**files(STEPS), **MORE})
    store = Store.open("sqlite:///.crosswalk/state.db", folder)
    yield World(folder, store)
    store.close()


def worth(deals: World) -> list[object]:
    from engine.sdk.record import decode_json
    from engine.state import canonical

    with deals.state.read() as tx:
        return [decode_json(one.data).get("worth") for one in canonical.scan(tx, "client")]


def test_a_record_is_changed_for_the_role_that_owns_the_field_and_sent_to_its_owner(deals: World) -> None:
    assert deals.run()["state"] == "succeeded"
    assert worth(deals) == [10] and deals.row("erp", "customers")["worth"] == 10
    deals.deal("d2", "Weir", amount=5)
    deals.run()
    assert worth(deals) == [15] and deals.row("erp", "customers")["worth"] == 15, "each deal counts once"
    deals.run(), deals.run(full=True)
    assert worth(deals) == [15]


def test_a_step_that_dies_after_it_changed_the_record_does_not_change_it_again(
    deals: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = derivations._ended

    def dies(*_: object) -> object:
        monkeypatch.setattr(derivations, "_ended", whole)
        raise KeyboardInterrupt

    monkeypatch.setattr(derivations, "_ended", dies)
    with pytest.raises(KeyboardInterrupt):
        deals.run()
    assert worth(deals) == [10] and deals.made("erp", "customers") == [], "it is committed, and nobody was told"
    deals.age(3600)
    deals.run()
    assert deals.one.state == "done" and worth(deals) == [10] and deals.row("erp", "customers")["worth"] == 10


def test_a_record_that_is_not_known_is_waited_for_and_never_made(deals: World) -> None:
    deals.deal("d1", "Mill", account=None)
    deals.run()
    (row,) = deals.exceptions()
    assert (row.code, deals.one.waiting) == ("E404", "repair") and "client names no client" in row.message
    assert len(worth(deals)) == 1
    deals.deal("d1", "Mill")
    deals.run()
    assert deals.one.state == "done" and worth(deals) == [10]


@pytest.mark.parametrize(
    ("path", "old", "new", "told"),
    [
        ("flows/deals.yaml", "role: erp", "role: hr", "E370"),
        ("mappings/canonical/deal_onto_client.yaml", "onto: client\n", "", "E370"),
        (
            "mappings/canonical/deal_onto_client.yaml",
            "onto: client\n",
            "onto: client\neach: lines\nkey: id\n",
            "drop `each`",
        ),
    ],
)
def test_what_cannot_be_is_told_before_it_runs(make: Make, path: str, old: str, new: str, told: str) -> None:
    given = {**files(STEPS), **MORE}
    assert old in given[path]
    faults = [str(one) for one in problems_of(Workspace.open(make({**given, path: given[path].replace(old, new)})))]
    assert any(told in fault for fault in faults), faults


def test_a_sync_flow_cannot_change_a_record_at_each_run(make: Make) -> None:
    flow = "flow: worths\nkind: sync\nentity: client\nsource: { connection: canonical, mapping: canonical/deal_onto_client }\ntargets: []\n"
    folder: Path = make({**files(STEPS), **MORE, "flows/worths.yaml": flow})
    (fault,) = [str(one) for one in problems_of(Workspace.open(folder))]
    assert "E357" in fault and "name it in a `derive` step" in fault
