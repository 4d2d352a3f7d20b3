"""A record that ends its process: found when it was in hand at three deaths, set aside, and the others go on.

A process that dies takes no note of what it died of, and whoever kills it means no record. So after a death the next run
notes durably which records it has in hand, batch by batch; after another one it takes those of that batch one by one. A
record that was in hand at three deaths, at the last two of them alone, is the culprit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.compile.sync import SyncPlan
from engine.run.items import Item
from engine.run.session import Session
from engine.sdk.errors import Problem
from engine.state import runs
from engine.state.store import Tx

DEATHS = 3


def note_death(tx: Tx, flow: str, *, died: bool) -> None:
    """At the start of a run: whether the one before it died, and what it had in hand then."""
    name, known = f"deaths:{flow}", _fact(tx, f"deaths:{flow}")
    if not died:
        if known:
            runs.set_fact(tx, name, None)
        return
    cursor, _ = runs.cursor(tx, flow)
    same = known.get("cursor") == cursor
    count, doing = (known.get("count", 0) + 1 if same else 1), known.get("doing", []) if same else []
    alone = len(doing) == 1 and known.get("suspects") == doing
    if count > DEATHS and alone:
        deadly = _fact(tx, f"deadly:{flow}")
        runs.set_fact(tx, f"deadly:{flow}", {**deadly, doing[0]: None})
        count, doing = 0, []
    runs.set_fact(tx, name, {"cursor": cursor, "count": count, "suspects": doing, "doing": []})


class Careful:
    """What a run knows of the deaths before it."""

    def __init__(self, session: Session, plan: SyncPlan) -> None:
        self.session, self.name, self.flow = session, f"deaths:{plan.name}", plan
        self.quiet = session.options.plan
        with session.store.read() as tx:
            self.known: dict[str, Any] = _fact(tx, self.name)
            self.deadly: dict[str, str | None] = _fact(tx, f"deadly:{plan.name}")
        self.suspects = set(self.known.get("suspects", []))

    def parts(self, items: list[Item]) -> Iterator[tuple[list[Item], bool]]:
        """The batch as it is to be worked on, and which part is its last: whole; after deaths noted before each part, and
        suspects one by one."""
        if self.deadly:
            self._set_aside(items)
        if not self.known.get("count") or self.quiet:
            yield items, True
            return
        calm = [item for item in items if item.key not in self.suspects]
        parts = [[item] for item in items if item.key in self.suspects]
        parts += [calm] if calm or not parts else []
        for number, part in enumerate(parts, 1):
            self._note([item.key for item in part])
            yield part, number == len(parts)
        self._note([])

    def _note(self, keys: list[str]) -> None:
        with self.session.store.begin("careful", durable=True) as tx:
            runs.set_fact(tx, self.name, {**self.known, "doing": keys})

    def _set_aside(self, items: list[Item]) -> None:
        """Records that ended their process stay out until they change or a person replays them."""
        moved = False
        for item in items:
            if item.key not in self.deadly or not item.going:
                continue
            known, now = self.deadly[item.key], item.raw_hash.hex()
            if item.key in self.session.retried or known not in (None, now):
                del self.deadly[item.key]
                moved = True
                continue
            moved = moved or known is None
            self.deadly[item.key] = now
            problem = Problem(
                "E470", f"{item.key}: {DEATHS} runs ended in the middle of it", self.flow.source.mapping.document.at(),
                "see what of it ends the process (memory, a function of the workspace), then replay it",
            )  # fmt: skip
            item.stop("map", problem, "internal")
        if moved and not self.quiet:
            with self.session.store.begin("careful", durable=True) as tx:
                runs.set_fact(tx, f"deadly:{self.flow.name}", self.deadly)


def _fact(tx: Tx, name: str) -> dict[str, Any]:
    found = runs.fact(tx, name)
    return found if isinstance(found, dict) else {}
