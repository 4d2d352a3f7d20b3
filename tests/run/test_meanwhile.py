"""What is done beside a piece of work ends with it, and its failures are heard of."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from engine.run import runner
from engine.run.meanwhile import meanwhile
from engine.run.runner import Runner
from engine.spec.workspace import Workspace
from engine.state import leases
from engine.state.store import Store

SOON = 10.0
"""Seconds that no wait of these tests needs."""


class Call:
    """Fails as often as told, and says when it was made so many times."""

    def __init__(self, failing: int, wanted: int) -> None:
        self.failing, self.wanted, self.made, self.enough = failing, wanted, 0, threading.Event()

    def __call__(self) -> None:
        self.made += 1
        if self.made >= self.wanted:
            self.enough.set()
        if self.made <= self.failing:
            raise OSError("no way there")


def names() -> list[str]:
    return [one.name for one in threading.enumerate()]


def test_it_is_called_again_and_again_until_the_work_is_done() -> None:
    call = Call(failing=0, wanted=3)
    with meanwhile("beside", 0.001, call):
        assert call.enough.wait(SOON) and "beside" in names()
    made = call.made
    assert "beside" not in names() and call.made == made


def test_a_call_that_fails_is_made_again_and_forgotten_once_one_succeeds() -> None:
    call = Call(failing=2, wanted=4)
    with meanwhile("beside", 0.001, call):
        assert call.enough.wait(SOON)


def test_a_failure_that_stays_is_raised_when_the_work_is_done() -> None:
    call, done = Call(failing=10**9, wanted=2), False
    with pytest.raises(OSError, match="no way there"), meanwhile("beside", 0.001, call):
        done = call.enough.wait(SOON)
    assert done and "beside" not in names()


def test_the_works_own_error_goes_first() -> None:
    call = Call(failing=10**9, wanted=1)
    with pytest.raises(KeyError) as caught, meanwhile("beside", 0.001, call):
        call.enough.wait(SOON)
        raise KeyError("mine")
    assert caught.value.__notes__ == ["meanwhile, beside: no way there"] and "beside" not in names()


def test_a_long_run_holds_on_to_its_lease(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Renewed each third of a lease's life: a run that outlasts one life still has it."""
    monkeypatch.setattr(runner, "LISTEN", 0.01)
    monkeypatch.setattr(leases, "LIFE", timedelta(seconds=0.3))
    with store.begin("take") as tx:
        lease = leases.claim(tx, "flow:a", "somebody:else", timedelta(seconds=0.3))
    assert lease is not None
    work = Runner(Workspace.__new__(Workspace), store)
    with work._renewed(lease, "run"):
        threading.Event().wait(1.0)
        with store.begin("other") as tx:
            assert leases.claim(tx, "flow:a", "another:one") is None
