"""Two flows that write one record: whichever stage the other one comes in between, no update is lost.

The files of the two systems are the oracle, and the provenance and history that the state keeps.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import engine.run.sync as line
from engine.run.runner import Runner
from engine.run.session import Options
from engine.sdk.record import decode_json
from engine.spec.workspace import Workspace
from engine.state import canonical
from engine.state.store import Store
from tests.run.test_sync import SCHEMA

STAGES = ("map_items", "identify", "merge_items", "validate_items", "diff_items", "deliver_items", "commit_items")
FLOW = "flow: {0}\nkind: sync\nentity: firm\nsource: {{ connection: {1}, mapping: any/firm, incremental: none }}\ntargets: {2}\nconflict: latest\nguard: {{ errors: 100% }}\n"
TO = "[{{ connection: {0}, mapping: any/firm }}]"
FILES = {
    "crosswalk.yaml": """
        crosswalk: 1
        name: twoway
        connections:
          crm: { connector: files, path: crm, format: ndjson, objects: { firms: { key: id, modified: at } } }
          erp: { connector: files, path: erp, format: ndjson, objects: { firms: { key: id, modified: at } } }
    """,
    "schemas/firm.yaml": SCHEMA + """
required: [name]
x-match: [[tax]]
properties:
  name: { type: string, x-owner: crm }
  terms: { type: string, x-owner: erp, x-history: true }
  stage: { type: string, x-owner: crm }
  amount: { type: integer, x-owner: [ { role: crm, when: "stage != 'won'" }, { role: erp } ], x-history: true }
  phone: { type: string, x-owner: shared, x-history: true }
  city: { type: string }
  rate: { type: number }
  tags: { type: array, items: { type: string } }
  memo: { type: string, x-owner: shared }
  tax: { type: string }
""",
    "mappings/any/firm.yaml": """
        mapping: any/firm
        object: firms
        entity: firm
        fields: { name: name, terms: terms, stage: stage, amount: amount, phone: phone, city: city, rate: rate, tags: tags, memo: memo, tax: tax }
        outbound: { id: { from: id, on: create } }
    """,
    "flows/out.yaml": FLOW.format("out", "crm", TO.format("erp").replace("{{", "{").replace("}}", "}")),
    "flows/back.yaml": FLOW.format("back", "erp", TO.format("crm").replace("{{", "{").replace("}}", "}")),
}  # fmt: skip
ALL = {"name": "Acme", "terms": "n30", "stage": "open", "amount": 1, "phone": "1", "city": "Bern",
       "rate": 10.5, "tags": ["a", "b"], "memo": "first"}  # fmt: skip


class Pair:
    """Two systems in files, a flow each way, and a state that both flows use."""

    def __init__(self, folder: Path, state: str = "sqlite:///.crosswalk/state.db") -> None:
        for name, content in FILES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(textwrap.dedent(content).lstrip("\n"))
        self.folder, self.state, self.clock = folder, state, 0
        self.store = Store.open(state, folder)

    def rows(self, system: str) -> dict[str, dict[str, Any]]:
        lines = (self.folder / system / "firms.ndjson").read_text().splitlines()
        return {row["tax"]: row for row in map(json.loads, lines)}

    def give(self, system: str, *rows: dict[str, Any]) -> None:
        path = self.folder / system / "firms.ndjson"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def firm(self, system: str, tax: str = "T1", **fields: Any) -> dict[str, Any]:
        return {"id": f"{system}-{tax}", "tax": tax, "at": self.now(), **ALL, **fields}

    def now(self) -> str:
        self.clock += 1
        return f"2026-01-01T{self.clock // 3600:02}:{self.clock // 60 % 60:02}:{self.clock % 60:02}Z"

    def set(self, system: str, tax: str = "T1", **fields: Any) -> None:
        rows = self.rows(system)
        rows[tax] |= {**fields, "at": self.now()}
        self.give(system, *rows.values())

    def known(self, *taxes: str) -> None:
        """Records that both systems have and both flows have seen."""
        for system in ("crm", "erp"):
            self.give(system, *[self.firm(system, tax) for tax in taxes or ("T1",)])
        self.both()

    def told(self, flow: str, **options: Any) -> dict[str, Any]:
        """A run, however it ends."""
        return Runner(Workspace.open(self.folder), self.store).run(flow, Options(**options)).run

    def run(self, flow: str, **options: Any) -> dict[str, Any]:
        told = self.told(flow, **options)
        assert told["state"] == "succeeded", told
        return told

    def both(self) -> int:
        """One round of both flows; how many writes it took."""
        return sum(run["created"] + run["updated"] for run in (self.run("out"), self.run("back")))

    def settle(self) -> None:
        """Rounds until nothing is written any more; both systems must then say the same."""
        rounds = [self.both() for _ in range(4)]
        assert rounds[-1] == 0, rounds

    def facts(self, system: str, tax: str = "T1") -> dict[str, Any]:
        return {name: self.rows(system)[tax].get(name) for name in ALL}

    def records(self) -> list[tuple[dict[str, Any], dict[str, Any], int]]:
        """(data, provenance, version) of every canonical record."""
        with self.store.read() as tx:
            return [
                (decode_json(one.data), decode_json(one.provenance), one.version) for one in canonical.scan(tx, "firm")
            ]

    def history(self, field: str) -> list[tuple[Any, Any, str]]:
        """(old, new, source) of a field's changes in order."""
        with self.store.read() as tx:
            found = tx.rows(
                "SELECT old, new, source FROM history WHERE field = ? AND old <> ? ORDER BY version", (field, b"null")
            )
        return [(decode_json(bytes(old)), decode_json(bytes(new)), source) for old, new, source in found]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What quieting the garbage collector saves long runs, many short ones in one process pay."""
    monkeypatch.setattr("engine.run.runner._quiet_collector", nullcontext)


@pytest.fixture
def pair(tmp_path: Path) -> Any:
    made = Pair(tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], None]], None]:
    """between("diff_items", act): `act` happens once, right before that stage of whichever run comes there first."""

    return lambda stage, act: meet(monkeypatch, stage, act)


def meet(patch: pytest.MonkeyPatch, stage: str, act: Callable[[], Any]) -> None:
    """Let something happen once, right before a stage of the run that comes there first."""
    real, left = getattr(line, stage), [act]

    def staged(*args: Any, **more: Any) -> Any:
        if left:
            left.pop()()
        return real(*args, **more)

    patch.setattr(line, stage, staged)


@pytest.mark.parametrize("first", ["out", "back"])
@pytest.mark.parametrize("stage", STAGES)
def test_edits_of_both_sides_survive_whatever_the_stage_at_which_the_flows_meet(
    pair: Pair, between: Any, stage: str, first: str
) -> None:
    pair.known()
    pair.set("crm", name="Acme Ltd", phone="2")
    pair.set("erp", terms="n60", city="Basel")
    between(stage, lambda: pair.run("back" if first == "out" else "out"))
    pair.run(first)
    pair.settle()
    wanted = {**ALL, "name": "Acme Ltd", "phone": "2", "terms": "n60", "city": "Basel"}
    assert pair.facts("crm") == pair.facts("erp") == wanted
    ((data, provenance, _),) = pair.records()
    assert {name: data[name] for name in ALL} == wanted
    givers = {name: provenance.get(name, provenance["*"])[1] for name in ("name", "phone", "terms", "city")}
    if stage != "commit_items":  # between a write and its commit the target shows the value first, and is named for it
        assert givers == {"name": "crm", "phone": "crm", "terms": "erp", "city": "erp"}
    assert [change[:2] for change in pair.history("phone")] == [("1", "2")]
    assert pair.history("terms") == [("n30", "n60", "erp")]


@pytest.mark.parametrize("first", ["out", "back"])
@pytest.mark.parametrize("stage", STAGES)
def test_one_firm_that_both_sides_have_is_one_record_however_the_first_runs_meet(
    pair: Pair, between: Any, stage: str, first: str
) -> None:
    pair.give("crm", pair.firm("crm", name="Acme"))
    pair.give("erp", pair.firm("erp", terms="n90"))
    between(stage, lambda: pair.run("back" if first == "out" else "out"))
    pair.run(first)
    pair.settle()
    assert [len(pair.rows(system)) for system in ("crm", "erp")] == [1, 1]
    assert len(pair.records()) == 1
    assert pair.facts("crm") == pair.facts("erp")


def test_what_was_read_before_the_others_write_is_read_again(pair: Pair, between: Any) -> None:
    """The CRM's old city, read before the ERP's new one was written there, is no edit of the CRM's."""
    pair.known()
    pair.set("erp", city="Basel")
    between("map_items", lambda: pair.run("back"))
    pair.set("crm", name="Other")
    assert pair.run("out")["read"] == 1
    assert (pair.facts("crm")["city"], pair.facts("erp")["name"]) == ("Basel", "Other")
    pair.settle()


def test_the_last_value_of_the_old_owner_reaches_the_new_one(pair: Pair) -> None:
    pair.known()
    pair.set("crm", stage="won", amount=77)  # closed with its last amount: from now on the amount is the ERP's
    pair.settle()
    assert pair.facts("erp")["amount"] == 77
    pair.set("crm", amount=5)
    pair.set("erp", amount=78)
    pair.both()
    assert (pair.facts("crm")["amount"], pair.facts("erp")["amount"]) == (78, 78)


EDITS = st.tuples(st.sampled_from(["crm", "erp"]), st.sampled_from(["name", "terms", "phone", "city", "memo", "close", "amount"]),
                  st.integers(1, 4))  # fmt: skip
RUNS = st.tuples(st.sampled_from(["out", "back"]), st.sampled_from(["", *STAGES]), st.just(0))


def edit(pair: Pair, last: dict[str, dict[str, Any]], system: str, field: str, value: int) -> None:
    """An edit that its side may make; what was edited last is noted by field and side."""
    won = pair.records()[0][0]["stage"] == "won"
    may = {"name": system == "crm", "terms": system == "erp", "close": system == "crm" and not won,
           "amount": (system == "erp") == won and (won or pair.facts("crm")["stage"] == "open")}  # fmt: skip
    if not may.get(field, True):
        return
    change = (
        {"stage": "won", "amount": value} if field == "close" else {field: value if field == "amount" else f"v{value}"}
    )
    pair.set(system, **change)
    for name, now in change.items():
        last.setdefault(name, {}).pop(system, None)
        last[name][system] = now


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(epochs=st.lists(st.lists(EDITS | RUNS, min_size=2, max_size=7), min_size=1, max_size=2))
def test_whatever_is_edited_and_however_the_flows_meet_no_update_is_lost(
    tmp_path_factory: pytest.TempPathFactory, epochs: list[list[tuple[str, str, int]]]
) -> None:
    pair = Pair(tmp_path_factory.mktemp("pair"))
    pair.known()
    for steps in epochs:
        last: dict[str, dict[str, Any]] = {}
        before = pair.facts("crm")
        for who, what, value in steps:
            if who in ("crm", "erp"):
                edit(pair, last, who, what, value)
                continue
            with pytest.MonkeyPatch.context() as patch:
                if what:
                    meet(patch, what, lambda who=who: pair.run("back" if who == "out" else "out"))  # type: ignore[misc]
                pair.run(who)
        pair.settle()
        crm, erp = pair.facts("crm"), pair.facts("erp")
        assert crm == erp
        for name, value in crm.items():
            given = last.get(name, {})
            if name == "amount" and given:
                assert value == list(given.values())[-1], name
            else:
                assert value in ({*map(str, given.values())} if given else [before[name]]), name
            if len(given) == 1:
                assert value == next(iter(given.values())), f"{name}: only one side changed it"
    pair.store.close()


SIDE = """
import sys
from pathlib import Path
from engine.run.runner import Runner
from engine.run.session import Options
from engine.spec.workspace import Workspace
from engine.state.store import Store
folder, state, flow = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
store = Store.open(state, folder)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(2):
    told = Runner(Workspace.open(folder), store).run(flow, Options()).run
    assert told["state"] == "succeeded", told
"""


def at_once(pair: Pair) -> None:
    """Both flows, each in a process of its own, let go at one moment."""
    sides = [
        subprocess.Popen([sys.executable, "-c", SIDE, str(pair.folder), pair.state, flow], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for flow in ("out", "back")
    ]  # fmt: skip
    for one in sides:
        assert one.stdout is not None and one.stdout.readline() == "ready\n"
    for one in sides:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    for one in sides:
        _, error = one.communicate(timeout=120)
        assert one.returncode == 0, error[-2000:]


@pytest.mark.parametrize("state", ["sqlite", "postgresql"])
def test_two_processes_at_once(tmp_path: Path, request: Any, state: str) -> None:
    pair = Pair(tmp_path, request.getfixturevalue("postgres") if state == "postgresql" else "sqlite:///state.db")
    for flow in ("out", "back"):  # many small batches meet more often
        path = pair.folder / f"flows/{flow}.yaml"
        path.write_text(path.read_text() + "policy: { batch: 5 }\n")
    taxes = [f"T{number}" for number in range(40)]
    for system in ("crm", "erp"):
        pair.give(system, *[pair.firm(system, tax) for tax in taxes])
    at_once(pair)
    pair.settle()
    assert len(pair.records()) == len(pair.rows("crm")) == len(pair.rows("erp")) == 40
    for system, changes in {"crm": {"name": "Ltd", "phone": "2"}, "erp": {"terms": "n60", "city": "Basel"}}.items():
        rows = pair.rows(system)
        pair.give(system, *[{**row, **changes, "at": pair.now()} for row in rows.values()])
    at_once(pair)
    pair.settle()
    wanted = {**ALL, "name": "Ltd", "phone": "2", "terms": "n60", "city": "Basel"}
    assert [pair.facts(system, tax) for tax in taxes for system in ("crm", "erp")] == [wanted] * 80
    assert len(pair.records()) == 40 and len(pair.history("phone")) == len(pair.history("terms")) == 40
    pair.store.close()
