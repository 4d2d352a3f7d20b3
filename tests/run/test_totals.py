"""`collect`: a total that cannot be told sets its records aside, and only those."""

from __future__ import annotations

from tests.conftest import Make
from tests.run.test_sync import FILES, World, person


def test_a_total_over_several_currencies_sets_its_records_aside_and_the_others_go_on(make: Make) -> None:
    world = World(make(FILES))
    world.edit(
        "flows/people.yaml",
        "checks:",
        'collect: { paid: { entity: person, by: team, sum: "{ amount: pay, currency: name }" } }\nchecks:\n'
        '  - { name: budget, that: "!paid || paid.amount <= `100`" }',
    )
    world.edit("flows/people.yaml", "guard:", "guard:")
    world.put(
        "people",
        [
            person("1", "EUR", team="t1", pay=4),
            person("2", "USD", team="t1", pay=4),
            person("3", "EUR", team="t2", pay=4),
        ],
    )
    world.run("teams")
    run = world.run()
    assert run["state"] in ("partial", "held") and run["error"] is None
    told = {row.key: (row.code, row.message) for row in world.exceptions()}
    assert {key for key, (code, _) in told.items() if code == "E431"} == {"1", "2"}
    assert "several currencies" in told["1"][1]
