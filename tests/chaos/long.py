"""`make chaos`: the measures of `make test` at length, each with a seed of its own, figures in one table.

    python tests/chaos/long.py --minutes 30 --seed 1

The time is shared out between the measures; what a measure reached stands in its row. A seed that failed goes to
`tests/chaos/seeds.txt`, which `make test` plays again.
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("CROSSWALK_SECRET_BOX", "t")

from tests.chaos import model  # noqa: E402
from tests.chaos.conftest import States  # noqa: E402
from tests.chaos.line import GOOD, Forge, Line, Oracle, workspace  # noqa: E402
from tests.chaos.test_crashes import crashed, points_of, prepared  # noqa: E402

SEEDS = ROOT / "tests/chaos/seeds.txt"
RATE = 0.22


class Reached(NamedTuple):
    """A row of the table: how much was done, of what, and how much of it was not as it should be."""

    count: int
    what: str
    bad: int


class Long:
    """The measures. Each goes on until its time is over."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.oracle, self.forge = Oracle(folder), Forge()
        self.bad: list[str] = []

    def close(self) -> None:
        self.oracle.close()
        self.forge.close()

    def line(self, kind: str, state: str | None = None, **how: object) -> Line:
        world = uuid.uuid4().hex[:10]
        flow = workspace(self.folder / f"{kind}-{world}", kind, **how)  # type: ignore[arg-type]
        state = state or f"sqlite:///{self.folder}/{world}.db"
        return Line(self.forge, self.oracle, flow, kind, world, state, self.folder / "data" / world)

    def judge(self, it: Line, measure: str, seed: int) -> int:
        """1 where a record is doubled, or lost without an exception; its seed is kept."""
        it.settle()
        verdict = {**it.verdict(), "exceptions": []}
        if verdict == GOOD:
            return 0
        self.bad.append(f"{measure} {it.kind} {seed}")
        print(f"  {measure} class {it.kind} seed {seed}: {verdict}", flush=True)
        return 1

    def pairs(self, until: float) -> Reached:
        """Two deaths one after the other, at any two points."""
        done = bad = 0
        for kind in itertools.cycle("ABCD"):
            states = States(self.folder / f"states-{kind}-{done}")
            base = prepared(self.line, states, kind)
            probe = base.copy(f"{base.world}p", states.fresh(base.state), base.data.parent / f"{base.world}p")
            points = points_of(probe.run()["reached"], 2)
            both = list(itertools.product(points, points))
            random.Random(self.seed + done).shuffle(both)
            for start in range(0, len(both), 20):
                copies = []
                for one, other in both[start : start + 20]:
                    copy = crashed(base, states, one)
                    copy.run(crash=other)
                    copies.append(copy)
                for copy in copies:
                    copy.wait()
                bad += sum(self.judge(copy, "pairs", self.seed) for copy in copies)
                done += len(copies)
                if time.monotonic() > until or start >= 60:
                    break
            if time.monotonic() > until:
                return Reached(done, "pairs of crash points", bad)
        raise AssertionError("unreachable")

    def kills(self, until: float) -> Reached:
        """`kill -9` at any moment of a run."""
        done = bad = 0
        for seed in itertools.count(self.seed):
            it = self.line("ABCD"[seed % 4], batch=10).open(rate=RATE, seed=seed)
            it.give({f"n{number}": 1 for number in range(100)})
            draw = random.Random(seed)
            for _ in range(10):
                done += it.run(kill=draw.random() * 0.3)["died"] == "kill -9"
            bad += self.judge(it, "kills", seed)
            if time.monotonic() > until:
                return Reached(done, "processes killed", bad)
        raise AssertionError("unreachable")

    def creates(self, until: float) -> Reached:
        """Creates through a target that fails at 22% of its writes."""
        done = bad = 0
        for seed in itertools.count(self.seed):
            kind = "ABCD"[seed % 4]
            it = self.line(kind, batch=500, batches=kind in "CD").open(rate=RATE, seed=seed)
            it.give({f"n{number}": 1 for number in range(2000)})
            it.run()
            it.wait()
            bad += self.judge(it, "creates", seed)
            done += 2000
            if time.monotonic() > until:
                return Reached(done, "creates", bad)
        raise AssertionError("unreachable")

    def order(self, until: float) -> Reached:
        """Versions of records under kills."""
        done = bad = 0
        for seed in itertools.count(self.seed):
            it = self.line("AC"[seed % 2], batch=50)
            it.open(rate=0.05, seed=seed, kinds=("before", "after", "broken", "half", "busy"))
            draw = random.Random(seed)
            for version in range(1, 51):
                it.give({f"n{number}": version for number in range(200)})
                it.run(kill=0.1 + draw.random() * 0.5)
                it.run()
                done += 200
                if time.monotonic() > until:
                    break
            bad += self.judge(it, "order", seed) + self.oracle.inversions(it.world)
            if time.monotonic() > until:
                return Reached(done, "events", bad)
        raise AssertionError("unreachable")

    def states(self, until: float) -> Reached:
        """The state machine, five workers: 40,000 states a second, 20 million at most."""
        most = int(max(100_000, min(20_000_000, 40_000 * (until - time.monotonic()))))
        found = model.explore(most, workers=5, times=model.Times(2, 3, 2, 2))
        return Reached(found.states, "states of the machine", int(found.broken is not None))

    def stateful(self, until: float) -> Reached:
        """hypothesis: runs of 50 steps, in a process of its own, 25 at a time."""
        done = bad = 0
        while True:
            env = {**os.environ, "CHAOS_EXAMPLES": "25", "CHAOS_STEPS": "50"}
            words = [sys.executable, "-m", "pytest", "-q", "-n", "0", "tests/chaos/test_stateful.py", "-p", "no:cacheprovider",
                     f"--hypothesis-seed={self.seed + done}"]  # fmt: skip
            ended = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True)
            if ended.returncode:
                bad += 1
                self.bad.append(f"stateful - {self.seed + done}")
                print(ended.stdout[-4000:], flush=True)
            done += 25
            if time.monotonic() > until:
                return Reached(done, "runs of 50 steps", bad)


MEASURES: tuple[str, ...] = ("pairs", "kills", "creates", "order", "states", "stateful")


def play(minutes: float, seed: int, names: tuple[str, ...]) -> Iterator[tuple[str, Reached]]:
    """Each measure for its share of the time."""
    with tempfile.TemporaryDirectory(prefix="crosswalk-chaos-") as place:
        long = Long(Path(place), seed)
        try:
            for name in names:
                measure: Callable[[float], Reached] = getattr(long, name)
                yield name, measure(time.monotonic() + minutes * 60 / len(names))
        finally:
            long.close()
            if long.bad:
                with SEEDS.open("a") as file:
                    file.write("".join(f"{one}\n" for one in long.bad))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("measures", nargs="*", default=MEASURES)
    given = parser.parse_args()
    print(
        f"seed {given.seed}, {given.minutes:g} minutes\n\n| measure | reached | doubled, lost or out of order |\n|---|---|---|"
    )
    bad = 0
    for name, reached in play(given.minutes, given.seed, tuple(given.measures)):
        print(f"| {name} | {reached.count:,} {reached.what} | {reached.bad} |", flush=True)
        bad += reached.bad
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
