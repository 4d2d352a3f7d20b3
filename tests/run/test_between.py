"""Ownership, derivations between entities, parts, conflicts of rules, and the same runs on a PostgreSQL state."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from engine.run.runner import Runner
from engine.run.session import Options
from engine.sdk.record import decode_json
from engine.spec.workspace import Workspace
from engine.state import canonical
from engine.state.store import Store
from tests.conftest import Make
from tests.run.test_sync import FILES, SCHEMA, TABLE, World, person

FIRM = (
    SCHEMA
    + """
required: [name]
x-match: [[tax]]
properties:
  name: { type: string, x-owner: crm }
  tax: { type: string }
  terms: { type: string, x-owner: erp }
  stage: { type: string, enum: [open, won], x-transitions: { open: [won] } }
  amount: { type: number, x-owner: [ { role: crm, when: "stage != 'won'" }, { role: erp } ] }
  entities: { type: array, items: { type: string, x-ref: entity } }
"""
)
TWO = {
    "crosswalk.yaml": """
        crosswalk: 1
        name: two
        connections:
          crm: { connector: files, path: crm, format: ndjson }
          erp: { connector: files, path: erp, format: ndjson }
    """,
    "schemas/firm.yaml": FIRM,
    "schemas/entity.yaml": SCHEMA + "properties: { name: { type: string } }\n",
    "schemas/total.yaml": SCHEMA + "properties:\n  terms: { type: string }\n  amount: { type: number }\n  members: { type: integer }\n",
    "mappings/any/firm.yaml": """
        mapping: any/firm
        object: firms
        entity: firm
        fields: { name: name, tax: tax, terms: terms, stage: stage, amount: amount }
        outbound: { id: id }
    """,
    "mappings/any/entity.yaml": "mapping: any/entity\nobject: entities\nentity: entity\nfields: { name: name }\n",
    "mappings/canonical/total.yaml": """
        mapping: canonical/total
        of: firm
        entity: total
        group: [terms]
        sum: { amount: amount }
        fields: { terms: terms, amount: amount, members: members }
    """,
    "flows/crm.yaml": "flow: crm\nkind: sync\nentity: firm\nsource: { connection: crm, mapping: any/firm }\ntargets: []\n",
    "flows/erp.yaml": "flow: erp\nkind: sync\nentity: firm\nsource: { connection: erp, mapping: any/firm }\ntargets: []\n",
    "flows/entities.yaml": "flow: entities\nkind: sync\nentity: entity\nsource: { connection: erp, mapping: any/entity }\ntargets: []\n",
    "flows/totals.yaml": "flow: totals\nkind: sync\nentity: total\nsource: { connection: canonical, mapping: canonical/total }\ntargets: []\n",
}  # fmt: skip


class Two(World):
    """Two systems that know the same firms."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def give(self, system: str, name: str, *rows: dict[str, Any]) -> None:
        (self.folder / system).mkdir(exist_ok=True)
        (self.folder / system / f"{name}.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def stored(self, entity: str) -> list[dict[str, Any]]:
        store = Store.open("sqlite:///.crosswalk/state.db", self.folder)
        with store.read() as tx:
            rows = [decode_json(one.data) for one in canonical.scan(tx, entity) if not one.deleted]
        store.close()
        return [{name: value for name, value in row.items() if name != "id"} for row in rows]


@pytest.fixture
def two(make: Make) -> Two:
    return Two(make(TWO))


def test_each_field_has_its_owner_and_others_fill_it_only_while_it_is_empty(two: Two) -> None:
    two.give("crm", "firms", {"id": "1", "name": "Acme", "tax": "T1", "terms": "guess", "stage": "open", "amount": 5})
    two.run("crm")
    two.give("erp", "firms", {"id": "88", "name": "ACME LTD", "tax": "t1 ", "terms": "net30", "amount": 9})
    assert two.run("erp")["state"] == "succeeded"
    (firm,) = two.stored("firm")
    assert (firm["name"], firm["terms"], firm["amount"]) == ("Acme", "net30", 5)
    two.give("crm", "firms", {"id": "1", "name": "Acme 2", "tax": "T1", "terms": "mine", "stage": "won", "amount": 6})
    two.run("crm")
    (firm,) = two.stored("firm")
    assert (firm["name"], firm["terms"], firm["amount"]) == ("Acme 2", "net30", 6)
    two.give("crm", "firms", {"id": "1", "name": "Acme 3", "tax": "T1", "stage": "won", "amount": 7})
    two.give("erp", "firms", {"id": "88", "name": "x", "tax": "T1", "terms": None, "amount": 10})
    two.run("crm"), two.run("erp")
    (firm,) = two.stored("firm")
    assert (firm["name"], firm["terms"], firm["amount"]) == ("Acme 3", None, 10)


def test_a_second_record_of_one_system_that_matches_goes_to_review(two: Two) -> None:
    two.edit("flows/crm.yaml", "targets: []", "targets: []\nguard: { errors: 100% }")
    two.give("crm", "firms", {"id": "1", "name": "Acme", "tax": "T1"}, {"id": "2", "name": "ACME", "tax": "t1"})
    assert two.run("crm")["quarantined"] == 1
    assert two.exceptions()[0].code == "E413" and "duplicate" in two.exceptions()[0].message


def test_many_to_one_is_computed_anew_when_members_change(two: Two) -> None:
    rows = [{"id": str(n), "name": f"F{n}", "terms": "a" if n < 3 else "b", "amount": n} for n in range(5)]
    two.give("crm", "firms", *rows)
    two.run("crm")
    assert two.run("totals")["state"] == "succeeded"
    assert sorted((one["terms"], one["amount"], one["members"]) for one in two.stored("total")) == [
        ("a", 3, 3),
        ("b", 7, 2),
    ]
    two.give("crm", "firms", *[{**row, "amount": 10} for row in rows])
    two.run("crm"), two.run("totals")
    assert sorted((one["terms"], one["amount"]) for one in two.stored("total")) == [("a", 30), ("b", 20)]


@pytest.mark.parametrize("on_delete", ["ignore", "delete"])
@pytest.mark.parametrize("how", ["moved", "deleted"])
def test_a_group_that_loses_its_last_member_is_deleted_and_comes_back_with_one(
    two: Two, on_delete: str, how: str
) -> None:
    two.edit("schemas/firm.yaml", "terms: { type: string, x-owner: erp }", "terms: { type: string, x-owner: crm }")
    (two.folder / "mappings/any/total.yaml").write_text(
        "mapping: any/total\nobject: totals\nentity: total\nfields: { terms: terms, amount: amount }\noutbound: { id: terms }\n"
    )
    two.edit("flows/totals.yaml", "targets: []",
             f"targets: [{{ connection: erp, mapping: any/total, on_delete: {on_delete} }}]\nguard: {{ deletes: 60% }}")  # fmt: skip
    two.edit("flows/crm.yaml", "mapping: any/firm }", "mapping: any/firm, deletes: sweep }\nguard: { deletes: 60% }")
    rows = [{"id": str(n), "name": f"F{n}", "terms": "a" if n < 2 else "b", "amount": n + 1} for n in range(3)]
    left = rows[:2] if how == "deleted" else [*rows[:2], {**rows[2], "terms": "a"}]

    def there() -> dict[str, Any]:
        path = two.folder / "erp/totals.ndjson"
        return {one["terms"]: one["amount"] for one in map(json.loads, path.read_text().splitlines())}

    two.give("erp", "totals")
    two.give("crm", "firms", *rows)
    two.run("crm"), two.run("totals")
    assert there() == {"a": 3, "b": 3}
    two.give("crm", "firms", *left)
    two.run("crm")
    planned = two.run("totals", plan=True)
    told = two.run("totals")
    gone = {"deleted": 1} if on_delete == "delete" else {"deleted": 0}
    assert told["state"] == "succeeded" and {"deleted": told["deleted"]} == gone == {"deleted": planned["deleted"]}
    total = 3 if how == "deleted" else 6
    assert there() == ({"a": total} if on_delete == "delete" else {"a": total, "b": 3})
    assert [one["terms"] for one in two.stored("total")].count("b") == 0
    again = two.run("totals")
    assert (again["created"], again["updated"], again["deleted"]) == (0, 0, 0)
    two.give("crm", "firms", *rows[:2], {**rows[2], "amount": 9})
    two.run("crm"), two.run("totals")
    assert there() == {"a": 3, "b": 9}


def test_groups_that_vanish_together_hold_the_run(two: Two) -> None:
    two.edit("schemas/firm.yaml", "terms: { type: string, x-owner: erp }", "terms: { type: string, x-owner: crm }")
    (two.folder / "mappings/any/total.yaml").write_text(
        "mapping: any/total\nobject: totals\nentity: total\nfields: { terms: terms, amount: amount }\noutbound: { id: terms }\n"
    )
    two.edit(
        "flows/totals.yaml", "targets: []", "targets: [{ connection: erp, mapping: any/total, on_delete: delete }]"
    )
    two.give("erp", "totals")
    two.give("crm", "firms", *[{"id": str(n), "name": f"F{n}", "terms": str(n), "amount": n} for n in range(10)])
    two.run("crm"), two.run("totals")
    two.give("crm", "firms", *[{"id": str(n), "name": f"F{n}", "terms": "0", "amount": n} for n in range(10)])
    two.run("crm")
    told = two.run("totals")
    assert told["state"] == "held" and "delete" in told["held_because"]


def test_one_to_many_makes_a_target_record_for_each_part(two: Two) -> None:
    two.give("erp", "entities", {"id": "uk", "name": "UK"}, {"id": "de", "name": "DE"})
    two.run("entities")
    (two.folder / "mappings/any/customer.yaml").write_text(
        "mapping: any/customer\nobject: customers\nentity: firm\nper: { entities: { from: subsidiary, ref: entity } }\n"
        'fields: { name: name }\noutbound: { id: { from: "join(\'-\', [name, `\\"x\\"`])" } }\n'
    )
    (two.folder / "mappings/any/with.yaml").write_text(
        "mapping: any/with\nobject: firms\nentity: firm\nfields:\n  name: name\n  entities: { each: entities, fields: { }, from: entities }\n"
    )
    (two.folder / "mappings/any/with.yaml").write_text(
        'mapping: any/with\nobject: firms\nentity: firm\nfields:\n  name: name\ninbound:\n  entities: { from: "entities[*]" }\n'
    )
    store = Store.open("sqlite:///.crosswalk/state.db", two.folder)
    with store.read() as tx:
        ids = {decode_json(one.data)["name"]: one.id for one in canonical.scan(tx, "entity")}
    store.close()
    (two.folder / "flows/parts.yaml").write_text(
        "flow: parts\nkind: sync\nentity: firm\nsource: { connection: crm, mapping: any/with }\n"
        "targets: [{ connection: erp, mapping: any/customer, match: [] }]\nguard: { errors: 100%, deletes: 100% }\n"
    )
    (two.folder / "mappings/any/customer.yaml").write_text(
        "mapping: any/customer\nobject: customers\nentity: firm\nper: { entities: { from: id, ref: entity } }\nfields: { name: name }\n"
        "deleted: { set: { gone: true } }\n"
    )
    two.give("crm", "firms", {"id": "1", "name": "Acme", "entities": [ids["UK"], ids["DE"]]})
    run = two.run("parts")
    assert run["created"] == 2, two.exceptions()
    text = (two.folder / "erp/customers.ndjson").read_text()
    assert sorted(decode_json(line)["id"] for line in text.splitlines()) == ["de", "uk"]
    two.give("crm", "firms", {"id": "1", "name": "Acme", "entities": [ids["UK"]]})
    assert two.run("parts")["deleted"] == 1
    gone = {
        row["id"]: row.get("gone")
        for row in map(decode_json, (two.folder / "erp/customers.ndjson").read_text().splitlines())
    }
    assert gone == {"uk": None, "de": True}


def test_two_rules_of_one_field_must_agree(two: Two) -> None:
    two.edit("mappings/any/firm.yaml", "outbound: { id: id }", "inbound: { name: legal }\noutbound: { id: id }")
    two.edit("flows/crm.yaml", "targets: []", "targets: []\nguard: { errors: 100% }")
    two.give(
        "crm",
        "firms",
        {"id": "1", "name": "A", "legal": "A"},
        {"id": "2", "name": "B", "legal": "C"},
        {"id": "3", "name": "D"},
    )
    assert two.run("crm")["quarantined"] == 1
    assert (two.exceptions()[0].key, two.exceptions()[0].code) == ("2", "E407")
    assert sorted(one["name"] for one in two.stored("firm")) == ["A", "D"]


def test_runs_on_a_postgresql_state(make: Make, postgres: str) -> None:
    world = World(make(FILES))
    world.put(
        "people",
        [
            person("1", team="t1"),
            person("2", "Bob"),
            person("3", pay="x"),
            *[person(str(n), f"P{n}") for n in range(4, 700)],
        ],
    )

    def run(flow: str, **options: Any) -> dict[str, Any]:
        store = Store.open(postgres, world.folder)
        try:
            return Runner(Workspace.open(world.folder), store).run(flow, Options(**options)).run
        finally:
            store.close()

    first = run("people")
    assert (first["created"], first["waiting"], first["quarantined"]) == (697, 1, 1)
    run("teams")
    assert run("people", full=True)["created"] == 1
    assert run("people", full=True)["unchanged"] == 698


def test_ctrl_c_ends_after_the_batch_and_the_next_run_goes_on(make: Make) -> None:
    world = World(make(FILES))
    world.put("people", [person(str(n), f"P{n}") for n in range(20_000)])
    command = [
        str(Path(sys.executable).parent / "crosswalk"),
        "run",
        "people",
        "--json",
        "--workspace",
        str(world.folder),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 20
    while time.monotonic() < end and world.sql("select count(*) from people")[0][0] == 0:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1 and '"state":"cancelled"' in out and "Traceback" not in err
    assert 0 < world.sql("select count(*) from people")[0][0] < 20_000
    assert world.run()["state"] == "succeeded"
    assert world.sql("select count(*), count(distinct name) from people") == [(20_000, 20_000)]


def test_a_reference_that_comes_later_is_delivered_then(make: Make) -> None:
    world = World(make(FILES))
    world.edit("mappings/src/people.yaml", "on_missing: wait", "on_missing: later")
    world.put("people", [person("1", team="t1")])
    assert world.run()["created"] == 1
    assert world.sql("select team_name from people") == [(None,)]
    assert [row.state for row in world.exceptions()] == ["waiting"]
    world.run("teams")
    assert world.run()["updated"] == 1
    assert world.sql("select team_name from people") == [("Red",)] and world.exceptions() == []


def test_refresh_sends_again_what_reads_a_changed_record(make: Make) -> None:
    world = World(make(FILES))
    world.edit("flows/people.yaml", "guard:", "refresh: [team]\nguard:")
    world.put("people", [person("1", team="t1"), person("2", "Bob")])
    world.run("teams")
    assert world.run()["created"] == 2
    time.sleep(1.1)  # positions are kept to the second of a run's start
    world.put("teams", [{"id": "t1", "name": "Blue", "open": True}])
    world.run("teams")
    assert world.run()["updated"] == 1
    assert world.sql("select team_name from people where name = 'Ada'") == [("Blue",)]
    assert world.run()["updated"] == 0


def test_what_a_refresh_could_not_deliver_stays_an_exception_while_the_record_comes_as_it_was(make: Make) -> None:
    world = World(make(FILES))
    world.sql("drop table people")
    world.sql(TABLE.replace("team_name text", "team_name text check (team_name <> 'Blue')"))
    world.edit("flows/people.yaml", "guard:", "refresh: [team]\nguard:")
    given = [person("1", team="t1"), person("2", "Bob")]
    world.put("people", given)
    world.run("teams")
    assert world.run()["created"] == 2
    time.sleep(1.1)  # positions are kept to the second of a run's start
    world.put("teams", [{"id": "t1", "name": "Blue", "open": True}])
    world.run("teams")
    assert world.run()["quarantined"] == 1
    world.run(full=True)
    world.put("people", [*given, person("3", "Cleo", at="2026-03-01T00:00:00Z")])
    assert world.run(full=True)["created"] == 1
    assert [(row.key, row.target, row.code) for row in world.exceptions()] == [("1", "dw", "E450")]


def test_tables_of_the_store_decide_and_totals_are_collected(make: Make) -> None:
    world = World(make(FILES))
    world.edit(
        "flows/people.yaml",
        "checks:",
        "collect: { paid: { entity: person, by: team, sum: pay } }\nchecks:\n  - { name: budget, that: 'paid <= `10`' }",
    )
    world.put("people", [person(str(n), f"P{n}", team="t1", pay=4) for n in range(3)])
    world.run("teams")
    run = world.run()
    assert run["quarantined"] == 3  # the batch is counted in before it is checked: 12 is over the budget for each
    world.put("people", [person(str(n), f"P{n}", team="t1", pay=3, at="2026-02-01T00:00:00Z") for n in range(3)])
    assert world.run()["created"] == 3


def test_money_is_converted_by_the_newest_rate_of_the_day_or_refused(make: Make) -> None:
    world = World(make(FILES))
    (world.folder / "schemas/money.yaml").write_text(
        SCHEMA + "required: [amount, currency]\nproperties: { amount: { type: number }, currency: { type: string } }\n"
    )
    world.edit(
        "schemas/person.yaml",
        "pay: { type: number }",
        "pay: { $ref: money }\n  euros: { type: number }\n  day: { type: string }",
    )
    world.edit(
        "mappings/src/people.yaml",
        "pay: { from: pay, as: decimal }",
        "pay: { from: pay, as: money, currency: cur }\ninbound:\n  euros: { from: \"money_convert({amount: pay, currency: cur}, 'EUR', day).amount\" }",
    )
    world.edit("mappings/src/people.yaml", "state: state", "")
    world.edit("mappings/dw/people.yaml", "pay: pay", "euros: pay")
    rates = [
        ("USD", "EUR", "2026-01-01", "0.90"),
        ("USD", "EUR", "2026-02-01", "0.9312345"),
        ("EUR", "JPY", "2026-01-01", "160"),
    ]
    rows = [{"id": str(n), "from": a, "to": b, "date": d, "rate": r} for n, (a, b, d, r) in enumerate(rates)]
    world.put("rates", rows)
    (world.folder / "mappings/src/rates.yaml").write_text(
        "mapping: src/rates\nobject: rates\nentity: exchange-rate\nfields:\n  from: from\n  to: to\n  date: { from: date, as: date }\n  rate: { from: rate, as: decimal }\n"
    )
    (world.folder / "flows/rates.yaml").write_text(
        "flow: rates\nkind: sync\nentity: exchange-rate\nsource: { connection: src, mapping: src/rates }\ntargets: []\n"
    )
    assert world.run("rates")["state"] == "succeeded"
    money = [
        (1, 100.10, "USD", "2026-01-15"),
        (2, 100.10, "USD", "2026-02-15"),
        (3, 1000, "JPY", "2026-03-01"),
        (4, 5, "EUR", "2020-01-01"),
        (5, 5, "GBP", "2026-03-01"),
    ]
    world.put(
        "people",
        [{**person(str(n), f"P{n}", pay=amount), "cur": currency, "day": day} for n, amount, currency, day in money],
    )
    run = world.run()
    assert (run["created"], run["quarantined"]) == (4, 1), [row.message for row in world.exceptions()]
    assert world.sql("select name, pay from people order by name") == [
        ("P1", 90.09),
        ("P2", 93.22),
        ("P3", 6.25),
        ("P4", 5),
    ]
    assert "no rate from GBP to EUR" in world.exceptions()[0].message


def test_a_flow_that_keeps_no_canonical_copy_still_knows_what_it_delivered(make: Make) -> None:
    world = World(make(FILES))
    world.edit("flows/people.yaml", "guard:", "store: none\nkeep_inputs: 1d\nguard:")
    world.put("people", [person("1"), person("2", "Bob")])
    assert world.run()["created"] == 2
    assert world.run(full=True)["unchanged"] == 2
    world.put("people", [person("1"), person("2", "Bobby", at="2026-01-02T00:00:00Z")])
    assert world.run()["updated"] == 1
    store = Store.open("sqlite:///.crosswalk/state.db", world.folder)
    with store.read() as tx:
        assert tx.one("select count(*) from canonical") == (0,)
        assert tx.one("select count(*) from kept_inputs") == (3,)
    store.close()
