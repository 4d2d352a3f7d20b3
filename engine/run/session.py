"""One run's surroundings: state, connectors, clock, and what expressions may ask."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any

from engine.compile.casts import EXACT
from engine.compile.functions import FunctionFault
from engine.compile.inbound import AMBIGUOUS
from engine.compile.registry import Registry
from engine.compile.rules import BETWEEN, LinkSlot, RefSlot
from engine.compile.sync import SyncPlan
from engine.run.connectors import Connectors
from engine.run.errand import Asked, Errand
from engine.run.events import Routes
from engine.run.items import Counts, Item
from engine.sdk.errors import ConnectorError
from engine.sdk.money import minor_digits
from engine.sdk.record import JSON, Fields, Record, decode_json
from engine.spec.load import Document
from engine.spec.workspace import Workspace
from engine.state import canonical, links
from engine.state.corrections import Correction
from engine.state.inputs import Seen
from engine.state.leases import Lease
from engine.state.store import Store, Tx


@dataclass
class Options:
    """How a run was asked for."""

    full: bool = False
    since: str | None = None
    until: str | None = None
    limit: int | None = None
    records: tuple[str, ...] = ()
    plan: bool = False
    approved: dict[str, Decimal] = field(default_factory=dict)
    moved: frozenset[str] | None = None
    only: dict[str, str] | None = None
    """From a saved plan: `target/canonical id/part` → digest of what may be sent."""
    trigger: str = "command"
    replay: bool = False
    """Only what is due, nothing from the source."""
    chosen: tuple[str, ...] = ()
    """Of a replay: only these exceptions."""
    stage: str = "raw"
    """Where a replay of chosen exceptions begins: raw, canonical or payload."""
    apart: tuple[str, ...] = ()
    """Canonical ids that adopt no record of a target: a person says that it is none of those there."""
    logic: bytes | None = None
    """The digest of the documents that a replay is bound to."""
    now: datetime | None = None
    """The run's start as expressions see it; tests fix it."""
    given: dict[str, Record] = field(default_factory=dict)
    """Native key → the record as its system has sent it, complete and versioned: these keys of `records` are not read."""
    gone: frozenset[str] = frozenset()
    """Native keys of `records` that their system calls deleted; believed where reading no longer gives them."""
    fresh: bool = False
    """The ledger is not believed: records are compared with what their targets hold."""
    errand: Errand | None = None
    """Of a run that mends breaks: what it may write, and nothing else."""
    heal: Asked | None = None
    """Of a reconciliation: heal what it found, and compare nothing but that."""
    tick: str | None = None
    """The instant of its schedule that the run is for."""
    actor: str = ""
    """The person who asked for it; empty where nobody did."""
    correlation: str | None = None
    """What records that the run makes belong together under, where nothing else says it."""

    def as_json(self) -> Fields:
        told = {"full": self.full, "since": self.since, "until": self.until, "limit": self.limit,
                "records": list(self.records), "trigger": self.trigger, "approved": self.approved}  # fmt: skip
        if self.heal is not None:
            told["heal"] = asdict(self.heal)
        return {**told, "gone": sorted(self.gone)} if self.gone else told


class RunEnv:
    """What expressions may ask in a run. `followed` collects the records that an evaluation looked at."""

    def __init__(self, session: Session) -> None:
        self.session, self.now = session, session.now
        self.root: JSON = None
        self.followed: set[tuple[str, str]] = set()
        self._cache: dict[tuple[str, str], Fields | None] = {}
        self._rates: dict[tuple[str, str], list[tuple[str, Decimal]]] | None = None

    def follow(self, entities: tuple[str, ...], key: Any) -> Fields | None:
        """The canonical record with that id, from the cache or the store."""
        if not isinstance(key, str):
            return None
        names = entities if entities != ("any",) else tuple(self.session.workspace.names("schema"))
        for entity in names:
            self.followed.add((entity, key))
            found = self.record(entity, key)
            if found is not None:
                return found
        return None

    def record(self, entity: str, key: str) -> Fields | None:
        place = (entity, key)
        if place not in self._cache:
            if len(self._cache) > 50_000:
                self._cache.clear()
            stored = canonical.get(self.session.tx, entity, [key]).get(key)
            self._cache[place] = decode_json(stored.data) if stored and not stored.deleted else None
        return self._cache[place]

    def forget(self, entity: str, keys: Iterable[str]) -> None:
        """Records that changed are read anew."""
        for key in keys:
            self._cache.pop((entity, key), None)

    def lookup(self, table: str, key: JSON, give: str | None, at: str | None = None) -> JSON:
        return self.session.registry.table(table).find(key, give, at)

    def convert(self, money: Fields, currency: str, day: str | None) -> Fields:
        """By the newest rate on or before the day (default: the run's), or by its inverse."""
        day = (day or self.now.date().isoformat())[:10]
        source = str(money["currency"])
        rate = self._rate(source, currency, day)
        if rate is None:
            inverse = self._rate(currency, source, day)
            rate = None if not inverse else EXACT.divide(Decimal(1), inverse)
        if rate is None:
            raise FunctionFault(f"no rate from {source} to {currency} on {day} is known")
        try:
            unit = Decimal(1).scaleb(-minor_digits(currency))
        except ValueError as error:
            raise FunctionFault(f"nothing is converted to it: {error}") from None
        amount = EXACT.multiply(Decimal(money["amount"]), rate).quantize(unit, context=EXACT)
        return {"amount": amount, "currency": currency}

    def _rate(self, source: str, target: str, day: str) -> Decimal | None:
        if self._rates is None:
            self._rates = {}
            for stored in canonical.scan(self.session.tx, "exchange-rate"):
                row = decode_json(stored.data)
                pair = (row.get("from"), row.get("to"))
                self._rates.setdefault(pair, []).append((str(row.get("date")), Decimal(row["rate"])))
            for found in self._rates.values():
                found.sort()
        known = [rate for date, rate in self._rates.get((source, target), ()) if date <= day]
        return known[-1] if known else None


class Session:
    """Everything a run shares between its stages."""

    instances: list[Fields] | None = None
    """Of the plan of a process flow: what each instance would do."""
    reports: list[Fields] | None = None
    """Reports that a reconciliation wrote: format, path."""

    def __init__(
        self, workspace: Workspace, store: Store, registry: Registry, connectors: Connectors, run: str, options: Options
    ) -> None:
        self.workspace, self.store, self.registry, self.connectors = workspace, store, registry, connectors
        self.run, self.options = run, options
        self.now = options.now or datetime.now(UTC).replace(microsecond=0)
        self._tx: Tx | None = None
        self.env = RunEnv(self)
        self.counts = Counts()
        self.seen: dict[str, Seen] | None = None
        self.live, self.overdue = set[tuple[str, str, str]](), set[tuple[str, str, str]]()
        self.versions: dict[str, str] = {}
        """Key → the newest version in trouble: an older one that comes late is not the record any more."""
        self.known_links: int | None = None
        self.sent_deletes = self.sent_updates = 0
        self.changes: list[dict[str, Any]] = []
        self.planned: Counter[tuple[str, str]] = Counter()
        """(target, kind) → writes that a plan would make."""
        self.cancelled = threading.Event()
        self.progress: Callable[[Counts], None] = lambda counts: None
        self.plan: SyncPlan | None = None
        self.document: Document | None = None
        """The flow, once it is bound."""
        self.lease: Lease | None = None
        self.marker: str | None = None
        """Class A: the journal's row of the batch that is being sent."""
        self.redo: list[Item] = []
        self.jobs: dict[str, set[str]] = {}
        """Jobs that this run opened, with the keys of their operations."""
        self.in_jobs: set[str] = set()
        """Operations of jobs that go on at a target: nobody else touches them."""
        self.parked: dict[str, ConnectorError] = {}
        """Connection → why it takes nothing any more: the batch at hand is committed, and the run is over."""
        self.refreshed: frozenset[str] = frozenset()
        self.delays: list[float] | None = None
        """Seconds from change to confirmed write; None where nobody asks, or the first load is no measure."""
        self.began = ""
        """Database time before anything was read."""
        self.mirrored: frozenset[tuple[str, str]] = frozenset()
        """(connection, object) that one flow of the entity reads and another one writes."""
        self.readbacks: dict[str, Any] = {}
        self.woken = 0
        self.corrections: dict[str, list[Correction]] = {}
        """What people corrected, by the record's key."""
        self.reread = False
        """Whether the source told everything that cannot be read in it."""
        self.past: set[str] = set()
        """Exceptions whose corrections are for a version that the source has left behind."""
        self.retried: dict[str, bytes] = {}
        """Exceptions that this run tried again, with what they held."""
        self.turns: dict[str, str] = {}
        """Versions that had waited for earlier ones, by key: the `part` of their exception."""
        self.positions: dict[str, str] = {}
        self.moved: list[dict[str, Any]] = []
        self.applied: set[str] = set()
        self.also: list[Callable[[Tx, list[Item]], None]] = []
        """What else belongs into the closing transaction of a batch."""
        self.foreseen: list[Callable[[list[Item]], None]] = []
        """Of a plan: who else is to see the records of a batch."""

    @cached_property
    def routes(self) -> Routes:
        """Who wants to know of what happens in this run."""
        return Routes.of(self.workspace)

    @property
    def fence(self) -> int:
        """What its writes are noted under; 0 for a run without a lease."""
        return self.lease.fence if self.lease else 0

    @property
    def tx(self) -> Tx:
        """The reading transaction of the batch at hand."""
        assert self._tx is not None, "no batch is open"
        return self._tx

    @contextmanager
    def reading(self) -> Any:
        """One consistent view of the state for a batch."""
        with self.store.read() as tx:
            self._tx = tx
            try:
                yield tx
            finally:
                self._tx = None

    def link_slots(self, slots: list[RefSlot], connection: str, *, inward: bool) -> list[LinkSlot]:
        """The links that a mapping's references ask for."""
        make = self._inward if inward else self._outward
        return [LinkSlot(make(slot, connection)) for slot in slots]

    def _inward(self, slot: RefSlot, connection: str) -> Callable[[str], Any]:
        def ask(native: str) -> Any:
            found = {
                link.canonical_id
                for entity in self._entities(slot)
                for link in links.by_native(self.tx, connection, entity, [native], slot.object).get(native, ())
            }
            return None if not found else found.pop() if len(found) == 1 else AMBIGUOUS

        return ask

    def _outward(self, slot: RefSlot, connection: str) -> Callable[[str], str | None]:
        def ask(key: str) -> str | None:
            id, asks, part = key.partition(BETWEEN)
            for entity in self._entities(slot):
                known = links.by_canonical(self.tx, connection, entity, [id], slot.object).get(id, ())
                live = {link.part: link.native_id for link in known if link.state == "live"}
                if not asks or (len(live) <= 1 and (not part or "" in live)):
                    found = live.get("") or next(iter(live.values()), None)
                else:  # of several the one that is meant; a record that is not divided is everybody's
                    found = live.get(part) or live.get("") if part else None
                if found is not None:
                    return found
            return None

        return ask

    def _entities(self, slot: RefSlot) -> tuple[str, ...]:
        return tuple(self.workspace.names("schema")) if slot.entities == ("any",) else slot.entities
