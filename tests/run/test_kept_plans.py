"""Plans that are kept between instances: bounded, never two threads with one, never one of other documents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from engine.run import hands, kept_plans
from engine.run.kept_plans import KeptPlans
from engine.run.process import advance
from engine.run.runner import Runner
from engine.state.store import Store
from tests.conftest import Make
from tests.run.process_world import World, files

ASK = "  - approve: large\n    queue: cfo\n  - check: small\n    that: 'amount < `LIMIT`'\n"


def test_a_plan_is_lent_to_one_at_a_time_and_few_are_kept() -> None:
    kept: Any = KeptPlans()
    assert kept.lend(b"a") is None
    kept.keep(b"a", "one", 0.0 + kept_plans.time.monotonic())
    kept.keep(b"a", "two", kept_plans.time.monotonic())
    assert {kept.lend(b"a")[0], kept.lend(b"a")[0]} == {"one", "two"} and kept.lend(b"a") is None
    for number in range(3 * kept_plans.MOST):
        kept.keep(b"%d" % number, number, kept_plans.time.monotonic())
    assert len(kept) == kept_plans.MOST and kept.lend(b"0") is None and kept.lend(b"47")[0] == 47
    kept.keep(b"old", "old", kept_plans.time.monotonic() - kept_plans.LIFE - 1)
    assert kept.lend(b"old") is None


@pytest.fixture
def store(make: Make) -> Iterator[Store]:
    found = Store.open("sqlite:///.crosswalk/state.db", make(files(ASK.replace("LIMIT", "50"))))
    yield found
    found.close()


def test_instances_share_what_was_compiled_and_keep_their_own_documents(
    store: Store, tmp_path: Path, make: Make
) -> None:
    folder = make(files(ASK.replace("LIMIT", "50")))
    deals = World(folder, store)
    deals.deal("d2", "Ox", amount=99)
    deals.run()
    make(files(ASK.replace("LIMIT", "500")))
    later = World(folder, store)
    for id, name, amount in (("d1", "Mill", 10), ("d2", "Ox", 99), ("d3", "Dam", 99)):
        later.deal(id, name, amount=amount)
    later.run()
    plans = KeptPlans()
    for one in later.asked():
        later.decide("approve", "ann", one.id)
    with patch.object(hands, "compile_process", wraps=hands.compile_process) as compiled:
        for one in later.instances():
            advance(Runner(later, store, plans=plans), one.id)
        assert compiled.call_count == 2 == len(plans), "one for each set of documents"
    ends = {one.context["large"] is not None and one.state for one in later.instances()}
    stands = sorted(one.state for one in later.instances())
    assert stands == ["done", "done", "waiting"] and ends == {"done", "waiting"}, (
        "the one that began with the old limit is over it"
    )
