"""Indicators: figures worked out by hand, causes and groups, limits that open alerts, faults that say where."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.compile.indicator import compile_indicator
from engine.compile.registry import Registry
from engine.run.indicators import Value, judge, relevant
from engine.run.measures import Tally, figure, statistic
from engine.sdk.errors import SpecError
from engine.sdk.record import Fields, encode_json
from engine.spec.workspace import Workspace
from engine.state import alerts, canonical, exceptions, indicators, links
from engine.state.links import Link
from engine.state.store import Store, instant
from tests.conftest import Make

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
SETTINGS = """
    crosswalk: 1
    name: t
    connections: { crm: { connector: files, path: d, format: json }, erp: { connector: files, path: d, format: json } }
    queues: { finance: {} }
    """
DEAL = """
    $schema: https://json-schema.org/draft/2020-12/schema
    x-label: name
    type: object
    additionalProperties: false
    properties:
      name: { type: string }
      method: { type: string }
      amount: { $ref: money }
      closed: { type: string, format: date }
      status: { type: string, enum: [open, won, lost], x-history: true, x-transitions: { open: [won, lost] } }
    """
JOB = """
    $schema: https://json-schema.org/draft/2020-12/schema
    type: object
    additionalProperties: false
    properties:
      deal: { type: string, x-ref: deal }
      status: { type: string, enum: [planned, active], x-history: true, x-transitions: { planned: [active] } }
    """


@pytest.fixture
def workspace(make: Make) -> Any:
    def open_(indicator: str, name: str = "it") -> Workspace:
        return Workspace.open(
            make(
                {
                    "crosswalk.yaml": SETTINGS,
                    "schemas/deal.yaml": DEAL,
                    "schemas/job.yaml": JOB,
                    f"indicators/{name}.yaml": f"indicator: {name}\n{indicator}",
                }
            )
        )

    return open_


def keep(store: Store, entity: str, id: str, record: Fields, **entered: str) -> None:
    """A canonical record, and when it first came into states."""
    with store.begin() as tx:
        canonical.put(tx, entity, [canonical.Change(id, 0, encode_json(record), b"{}")], "r")
        for version, (state, at) in enumerate(entered.items(), 1):
            tx.run(
                "INSERT INTO history (entity, id, field, version, old, new, at, source, run) VALUES (?, ?, 'status', ?, ?, ?, ?, 'crm', 'r')",
                (entity, id, version, b"null", encode_json(state), at),
            )


def deal(store: Store, id: str, status: str = "won", amount: str = "10.10", currency: str = "EUR", **more: Any) -> None:
    money = {"amount": Decimal(amount), "currency": currency}
    entered = more.pop("entered", {})
    keep(store, "deal", id, {"name": f"Deal {id}", "status": status, "amount": money, **more}, **entered)


def of(store: Store, workspace: Workspace, **more: Any) -> Value:
    (value,) = judge(store, workspace, ["it"], now=NOW, **more)
    return value


def test_a_count_with_amounts_by_currency_age_and_causes(store: Store, workspace: Any) -> None:
    won = {"won": "2026-03-30T12:00:00.000000Z"}
    deal(store, "a", method="fixed", entered=won)
    deal(store, "b", amount="0.20", entered=won)
    deal(store, "c", currency="GBP", amount="7", method="fixed", entered={"won": "2026-03-21T12:00:00.000000Z"})
    deal(store, "d", status="open")
    deal(store, "e", method="fixed")
    keep(store, "job", "j", {"deal": "e"})
    with store.begin() as tx:
        exceptions.record(tx, [_failure("a")])
    it = workspace(
        "entity: deal\nwhere: status == 'won'\nwithout: { entity: job, by: deal }\namount: amount\nage: { enters: won }\n"
        "causes:\n  - { name: check, when: \"exceptions[?class == 'check']\" }\n  - { name: no method, when: '!method' }\n"
        "by: [amount.currency]\nlimit: 2\nowner: finance\n"
    )
    value = of(store, it, keep=2)
    told = value.told()
    assert (told["value"], told["count"], told["over"], told["unit"]) == (Decimal(3), 3, True, "number")
    assert told["amount"] == {"EUR": Decimal("10.30"), "GBP": Decimal(7)}
    assert [(one["cause"], one["count"]) for one in told["causes"]] == [("check", 1), ("no method", 1), ("other", 1)]
    assert [(one["by"], one["count"]) for one in told["groups"]] == [
        ({"amount.currency": "EUR"}, 2),
        ({"amount.currency": "GBP"}, 1),
    ]
    assert [(row.id, row.hours) for row in value.rows] == [("c", Decimal(240)), ("a", Decimal(24))], "the oldest first"


def _failure(id: str) -> exceptions.Failure:
    return exceptions.Failure(
        "f", "r", "deal", f"k{id}", id, "erp", "", "check", "check", "E430", "no", "", None, "finance", "open", "fp",
        None, None, b"", None, None, None,
    )  # fmt: skip


def test_time_between_moments_of_two_records(store: Store, workspace: Any) -> None:
    deal(store, "a", entered={"won": "2026-03-01T00:00:00.000000Z"})
    deal(store, "b", entered={"won": "2026-03-01T00:00:00.000000Z"})
    deal(store, "c", entered={"won": "2026-03-09T00:00:00.000000Z"})
    keep(store, "job", "1", {"deal": "a"}, planned="2026-03-01T06:00:00.000000Z", active="2026-03-03T00:00:00.000000Z")
    keep(store, "job", "2", {"deal": "b"}, active="2026-03-02T12:00:00.000000Z")
    keep(store, "job", "3", {"deal": "c"}, planned="2026-03-08T00:00:00.000000Z")
    keep(store, "job", "4", {"deal": None}, planned="2026-03-08T00:00:00.000000Z")
    value = of(
        store,
        workspace(
            "entity: job\nmeasure: time\nbetween: { from: { enters: won, of: deal, entity: deal }, to: { enters: '*' } }\nlimit: 20h\n"
        ),
    )
    assert (value.value, value.tally.count, value.over, value.unit) == (Decimal(21), 2, True, "hours"), (
        "6 h and 36 h; what came the other way or has no deal is no time"
    )


def test_a_share_of_hours_below_its_limit(store: Store, workspace: Any) -> None:
    for id, status, amount in (("a", "won", "30"), ("b", "lost", "60"), ("c", "won", "10"), ("d", "open", "900")):
        deal(store, id, status, amount, closed="2026-03-30")
    deal(store, "old", "won", "900", closed="2026-01-01")
    value = of(
        store,
        workspace(
            "entity: deal\nmeasure: share\nof: status != 'open'\nwhere: status == 'won'\nvalue: amount.amount\n"
            "window: { field: closed, last: 30d }\nlimit: 65%\ndirection: below\n"
        ),
    )
    assert (value.value, value.unit, value.over) == (Decimal("0.4"), "share", True)


def test_a_rate_for_each_record(store: Store, workspace: Any) -> None:
    for id in "abcd":
        deal(store, id)
    with store.begin() as tx:
        exceptions.record(tx, [_failure("a")])
    value = of(
        store, workspace("over: exceptions\nwhere: class == 'check'\nper: { entity: deal, by: id }\nlimit: 0.2\n")
    )
    assert (value.value, value.over) == (Decimal("0.25"), True)


def test_the_connections_that_have_a_record(store: Store, workspace: Any) -> None:
    deal(store, "a")
    deal(store, "b")
    with store.begin() as tx:
        links.put(tx, [Link("deal", "crm", "Deal", "1", "a"), Link("deal", "erp", "Job", "9", "a")])
        links.put(tx, [Link("deal", "crm", "Deal", "2", "b")])
    value = of(store, workspace("entity: deal\nwhere: \"!contains(held_in, 'erp')\"\n"), keep=9)
    assert [row.id for row in value.rows] == ["b"]


def test_over_its_limit_it_opens_one_alert_and_closes_it(store: Store, workspace: Any) -> None:
    it = workspace("entity: deal\nlimit: 1\n")
    deal(store, "a")
    assert not of(store, it).over, "at the limit is not over it"
    deal(store, "b")
    of(store, it)
    of(store, it)
    with store.read() as tx:
        (alert,) = alerts.listed(tx)
    assert (alert.flow, alert.expectation, alert.bound, alert.reached) == ("indicator/it", "limit", "1", "2")
    with store.begin() as tx:
        tx.run("UPDATE canonical SET deleted = 1 WHERE id = 'a'")
    of(store, it)
    with store.read() as tx:
        assert alerts.listed(tx) == []
        readings = [(row.value, row.over) for row in indicators.readings(tx, "it")]
        assert set(readings) <= {(Decimal(1), False), (Decimal(2), True)} and (Decimal(2), True) in readings


def test_nothing_to_measure_is_no_value_and_no_alert(store: Store, workspace: Any) -> None:
    value = of(store, workspace("entity: deal\nmeasure: age\nage: closed\nlimit: 1d\n"))
    assert (value.value, value.over) == (None, False)


def test_amounts_of_several_currencies_are_never_added(store: Store, workspace: Any) -> None:
    deal(store, "a")
    deal(store, "b", currency="GBP")
    value = of(store, workspace("entity: deal\nmeasure: sum\nvalue: amount\n"))
    assert value.value is None and value.error is not None
    assert str(value.error) == (
        "E381 indicators/it.yaml:4:8 it cannot be computed: it adds EUR and GBP — convert them first: money_convert(amount, 'EUR')"
    )


def test_a_row_that_cannot_be_judged_is_named(store: Store, workspace: Any) -> None:
    deal(store, "a", closed="soon")
    value = of(store, workspace("entity: deal\nwhere: \"is_before(closed, '2026-01-01')\"\n"))
    assert value.error is not None and value.error.message.startswith("it cannot be computed for a: ")


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("entity: deal\nlimit: 3d\n", "E380", "the limit is a time, and the indicator a number"),
        ("entity: deal\nlimit: 5%\n", "E380", "the limit is a percentage, and the indicator is no share"),
        (
            "entity: deal\nmeasure: age\nage: closed\nlimit: 3\n",
            "E380",
            "the limit is a number, and the indicator a time",
        ),
        ("entity: deal\nwhere: stage == 'won'\n", "E210", "stage"),
        ("entity: deal\nwhere: status == 'win'\n", "E212", "never 'win'"),
        ("over: runs\nwhere: stat == 'failed'\n", "E210", "stat"),
        ("entity: deal\nwithout: { entity: job, by: dael }\n", "E210", "dael"),
    ],
)
def test_faults_say_where(text: str, code: str, says: str, workspace: Any) -> None:
    it = workspace(text)
    with pytest.raises(SpecError) as caught:
        compile_indicator(it.document("indicator", "it"), Registry(it))
    assert caught.value.problems[0].code == code and says in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "entity: deal\nmeasure: sum\n",
        "entity: deal\nmeasure: time\n",
        "entity: deal\nmeasure: share\n",
        "over: runs\nmeasure: time\nbetween: { from: a, to: b }\n",
        "over: runs\nwithout: { entity: job, by: deal }\n",
        "entity: deal\nage: { enters: won, at: closed }\n",
        "entity: deal\ncauses: [{ name: a, when: status }, { name: a, when: status }]\n",
        "measure: count\n",
    ],
)
def test_what_does_not_fit_together_is_refused(text: str, workspace: Any) -> None:
    with pytest.raises(SpecError):
        workspace(text).document("indicator", "it")


def test_every_indicator_of_the_library_compiles_and_computes_on_an_empty_state(store: Store, make: Make) -> None:
    roles = ("crm", "psa", "erp", "hr", "expense")
    connections = "".join(f"  {role}: {{ connector: files, path: d, format: json }}\n" for role in roles)
    folder = make({"crosswalk.yaml": f"crosswalk: 1\nname: t\nconnections:\n{connections}"})
    workspace = Workspace.open(folder)
    names = workspace.names("indicator")
    with store.read() as tx:
        shown = relevant(tx, workspace)
    assert len(names) >= 25 and shown == [], "where no flow ever ran there is nothing to measure"
    values = judge(store, workspace, names, now=NOW)
    assert [str(one.error) for one in values if one.error] == []
    assert all(one.value in (None, 0) for one in values)


@given(st.lists(st.decimals(min_value=0, max_value=10**6, places=2), min_size=1, max_size=40))
def test_statistics_lie_among_their_values(values: list[Decimal]) -> None:
    for measure in ("age", "freshness", "median", "p95", "average"):
        found = statistic(measure, values)
        assert found is not None and min(values) - Decimal("0.000001") <= found <= max(values) + Decimal("0.000001")
    assert statistic("p95", values) in [one.quantize(Decimal("0.000001")) for one in values]
    above = statistic("p95", values)
    assert above is not None and sum(one <= above for one in values) * 100 >= 95 * len(values)


@given(st.lists(st.tuples(st.decimals(-1000, 1000, places=2), st.sampled_from(["EUR", "GBP"])), max_size=30))
def test_amounts_add_up_exactly_whatever_their_order(amounts: list[tuple[Decimal, str]]) -> None:
    there, back = Tally(), Tally()
    for tally, order in ((there, amounts), (back, amounts[::-1])):
        for amount, currency in order:
            tally.add({"amount": amount, "currency": currency}, amount)
    assert there.amounts == back.amounts
    assert sum(there.amounts.values()) == sum(amount for amount, _ in amounts)
    assert figure("sum", there, None, valued=True) == sum(amount for amount, _ in amounts)


def test_an_hour_ago_is_an_hour(store: Store, workspace: Any) -> None:
    with store.begin() as tx:
        exceptions.record(tx, [_failure("a")])
        tx.run("UPDATE exceptions SET opened_at = ?", (instant(NOW - timedelta(hours=1)),))
    value = of(store, workspace("over: exceptions\nmeasure: age\nage: opened_at\nby: [class]\nlimit: 30m\n"))
    assert (value.value, value.over) == (Decimal(1), True)
    assert value.told()["groups"][0]["value"] == Decimal(1)
