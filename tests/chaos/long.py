"""`make chaos`: the measures of `make test` in full, on SQLite and PostgreSQL, figures in one table.

    python tests/chaos/long.py
    python tests/chaos/long.py --minutes 30 --seed 1 kills creates

A measure goes on until its full figure is reached; `--minutes` shares a time out between them and says what was cut short.
Each goes in rounds: a round's number decides its class, its database, its faults and its deaths. A round that failed goes
to `tests/chaos/seeds.txt`, which `make test` plays again.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("CROSSWALK_SECRET_BOX", "t")

from tests.chaos import model  # noqa: E402
from tests.chaos.conftest import Schemas, States  # noqa: E402
from tests.chaos.line import GOOD, Forge, Line, Oracle, workspace  # noqa: E402
from tests.chaos.test_crashes import crashed, points_of, prepared  # noqa: E402
from tests.conftest import reachable  # noqa: E402

SEEDS = ROOT / "tests/chaos/seeds.txt"
RATE = 0.22
CLASSES = "ABCD"
PROCESSES = 4


class Goal(NamedTuple):
    """The full figure of a measure. count: None for all there are."""

    what: str
    count: int | None


GOALS = {
    "pairs": Goal("pairs of crash points", None),
    "kills": Goal("processes killed, four at once", 2_000),
    "creates": Goal("creates through a target that fails at 22%", 200_000),
    "order": Goal("events of records under kills", 1_000_000),
    "states": Goal("states of the machine", 20_000_000),
    "stateful": Goal("runs of 50 steps", 50_000),
}


class Done(NamedTuple):
    """What rounds did, and how many of them ended not as they should."""

    count: int
    bad: int


class Long:
    """The measures: each is a method that plays the round of a number."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.oracle, self.forge = Oracle(folder), Forge()
        self.schemas = Schemas() if reachable("postgresql") else None
        self.bases: dict[tuple[str, bool], tuple[States, Line, list[tuple[str, int]]]] = {}

    def close(self) -> None:
        self.oracle.close()
        self.forge.close()
        if self.schemas is not None:
            self.schemas.close()

    def states_of(self, number: int) -> States:
        """On SQLite and PostgreSQL by turns."""
        schemas = self.schemas if number // len(CLASSES) % 2 else None
        return States(self.folder / f"states-{uuid.uuid4().hex[:10]}", schemas)

    def line(self, kind: str, state: str | None = None, **how: object) -> Line:
        world = uuid.uuid4().hex[:10]
        flow = workspace(self.folder / f"{kind}-{world}", kind, **how)  # type: ignore[arg-type]
        state = state or f"sqlite:///{self.folder}/{world}.db"
        return Line(self.forge, self.oracle, flow, kind, world, state, self.folder / "data" / world)

    def judged(self, it: Line, states: States, *, order: bool = False) -> int:
        """1 where a record is doubled, out of order, or lost without an exception; the state may be used again."""
        it.settle()
        verdict = {**it.verdict(), "exceptions": []}
        undone = it.oracle.inversions(it.world) if order else 0
        if states.schemas is not None:
            states.schemas.free += states.taken
            states.taken = []
        if verdict == GOOD and not undone:
            return 0
        print(f"  class {it.kind}: {verdict}, {undone} out of order", flush=True)
        return 1

    def pairs(self, number: int) -> Done:
        """Two deaths one after the other, at two points; nothing where there is no such pair."""
        kind, second = CLASSES[number % 4], bool(number // 4 % 2)
        if second and self.schemas is None:
            return Done(0, 0)
        if (kind, second) not in self.bases:
            states = self.states_of(number)
            base = prepared(self.line, states, kind)
            probe = base.copy(f"{base.world}p", states.fresh(base.state), base.data.parent / f"{base.world}p")
            self.bases[kind, second] = states, base, points_of(probe.run()["reached"], 1)
            states.taken = []
        states, base, points = self.bases[kind, second]
        if number // 8 >= len(points) ** 2:
            return Done(0, 0)
        one, other = divmod(number // 8, len(points))
        copy = crashed(base, states, points[one])
        copy.run(crash=points[other])
        copy.wait()
        return Done(1, self.judged(copy, states))

    def kills(self, number: int) -> Done:
        """`kill -9` at any moment of four processes at once."""
        states = self.states_of(number)
        it = self.line(CLASSES[number % 4], states.fresh(), batch=10).open(rate=RATE, seed=number)
        it.give({f"n{one}": 1 for one in range(100)})
        draw, died = random.Random(number), 0
        for _ in range(4):
            told = it.race(*({"kill": draw.random() * 0.5} for _ in range(PROCESSES)))
            died += sum(one["died"] == "kill -9" for one in told)
        return Done(died, self.judged(it, states))

    def creates(self, number: int) -> Done:
        """Creates through a target that fails at 22% of its writes, by four processes at once."""
        kind, states = CLASSES[number % 4], self.states_of(number)
        it = self.line(kind, states.fresh(), batch=500, batches=kind in "CD").open(rate=RATE, seed=number)
        it.give({f"n{one}": 1 for one in range(2000)})
        it.together(PROCESSES)
        it.wait()
        return Done(2000, self.judged(it, states))

    def order(self, number: int) -> Done:
        """Versions of records under kills."""
        states = self.states_of(number)
        it = self.line("AC"[number % 2], states.fresh(), batch=100)
        it.open(rate=0.05, seed=number, kinds=("before", "after", "broken", "half", "busy"))
        draw = random.Random(number)
        for version in range(1, 26):
            it.give({f"n{one}": version for one in range(400)})
            it.run(kill=0.1 + draw.random() * 0.8)
            it.run()
        return Done(25 * 400, self.judged(it, states, order=True))

    def states(self, number: int) -> Done:
        """The state machine, five workers."""
        found = model.explore(GOALS["states"].count or 0, workers=5, times=model.Times(2, 3, 2, 2), until=self.until)
        return Done(found.states, int(found.broken is not None))

    def stateful(self, number: int) -> Done:
        """hypothesis: 25 runs of each class, in a process of its own."""
        env = {**os.environ, "CHAOS_EXAMPLES": "25", "CHAOS_STEPS": "50"}
        words = [sys.executable, "-m", "pytest", "-q", "-n", "0", "tests/chaos/test_stateful.py", "-p", "no:cacheprovider",
                 f"--hypothesis-seed={number}"]  # fmt: skip
        ended = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True)
        if ended.returncode:
            print(ended.stdout[-4000:], flush=True)
        return Done(25 * len(CLASSES), int(ended.returncode != 0))

    until = float("inf")
    """When the measure is to end, on the monotonic clock."""

    def play(self, name: str, number: int, until: float = float("inf"), *, rounds: int | None = None) -> Done:
        """Rounds of a measure from a number on, to its full figure, its time or so many rounds. Bad ones are kept."""
        measure: Callable[[int], Done] = getattr(self, name)
        self.until, count, bad, nothing, goal = until, 0, 0, 0, GOALS[name].count
        for one in itertools.count(number):
            done = measure(one)
            if done.bad and rounds is None:
                with SEEDS.open("a") as file:
                    file.write(f"{name} {one}\n")
            count, bad, nothing = count + done.count, bad + done.bad, 0 if done.count else nothing + 1
            full = nothing == 8 if goal is None else count >= goal
            if full or time.monotonic() > until or one - number + 1 == rounds:
                break
        return Done(count, bad)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=0.0, help="in all; 0: as long as the full figures take")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("measures", nargs="*", default=list(GOALS))
    given = parser.parse_args()
    bad, short = 0, []
    with tempfile.TemporaryDirectory(prefix="crosswalk-chaos-") as place:
        long = Long(Path(place))
        print(
            f"seed {given.seed}; {'SQLite and PostgreSQL' if long.schemas else 'SQLite only: PostgreSQL does not run'}\n"
        )
        print("| measure | reached | in full | doubled, lost or out of order |\n|---|---|---|---|")
        try:
            for name in given.measures:
                share = given.minutes * 60 / len(given.measures)
                until = time.monotonic() + share if given.minutes else float("inf")
                goal = GOALS[name]
                done = long.play(name, 0 if goal.count is None else given.seed, until)
                full = "all" if goal.count is None else f"{goal.count:,}"
                if time.monotonic() > until and done.count < (goal.count or 10**9):
                    short.append(name)
                print(f"| {goal.what} | {done.count:,} | {full} | {done.bad} |", flush=True)
                bad += done.bad
        finally:
            long.close()
    if short:
        print(f"\ncut short by --minutes {given.minutes:g}: {', '.join(short)}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
