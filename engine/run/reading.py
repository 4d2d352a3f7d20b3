"""What a run reads: the window of an incremental read, its slices, its batches and its cursor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from engine.compile.functions.numbers import total
from engine.compile.sync import SyncPlan
from engine.run.session import Session
from engine.run.slices import MARK, NONE, OVER, Pass, layout, left
from engine.sdk.connector import Read, Slice
from engine.sdk.errors import ConnectorError, Problem
from engine.sdk.record import Fields, Record, canonical_json, decode_json
from engine.state import canonical, links, runs
from engine.state.store import instant

Chunk = list[Record]


class Reading:
    """The source of a run. `whole` is True once everything that the source has was read. only: slices to read, and no more."""

    def __init__(self, session: Session, plan: SyncPlan, only: Sequence[Slice] | None = None) -> None:
        self.session, self.plan, self.only = session, plan, only
        self.options = session.options
        self.whole = False
        self.keys: set[str] = set()
        with session.reading() as tx:
            position, self._version = runs.cursor(tx, plan.name)
        known = position if isinstance(position, dict) else {}
        self.position: str | None = known.get("modified")
        self.told: str | None = known.get("deleted")  # up to when the source has told its deletes
        self._told_next, self.told_now = self.told, False
        self.greatest = self.position
        self.since = self._since()
        self.sliced = self._sliced()
        self.resumed = False
        self._pass = Pass.of(known.get("pass")) if self.position is None and not self.options.full else None
        self._last: list[Any] | None = None

    def _since(self) -> str | None:
        options = self.options
        if options.since is not None:
            return options.since
        if options.full or options.records or self.plan.source.modified is None or self.position is None:
            return None
        return earlier(self.position, self.plan.flow.source.lag)

    def _sliced(self) -> bool:
        """Whether everything is read, and slice by slice."""
        whole = self.since is None and self.options.until is None and not self.options.records
        return whole and self.plan.flow.source.partition is not None

    def __iter__(self) -> Iterator[tuple[Chunk, str | None]]:
        """(records, point up to which everything has come) batch by batch; the last one closes the window."""
        limit, given = self.options.limit, 0
        for records, reached in self._batches():
            if limit is not None:
                records = records[: limit - given]
            given += len(records)
            self.session.counts.records["read"] += len(records)
            if self.sweeps:
                self.keys.update(record.key for record in records)
            for record in records:
                if record.modified is not None and (self.greatest is None or record.modified > self.greatest):
                    self.greatest = record.modified
            yield records, reached
            if limit is not None and given >= limit:
                return
        partial = self.since is not None or self.options.records or self.options.until is not None
        self.whole = not partial and limit is None and not self.resumed and self.only is None
        rereads = self.plan.source.info is not None and self.plan.source.info.rereads
        self.session.reread = self.whole or (rereads and limit is None and not self.options.records)
        if not self.options.records and self.options.since is None and (self.greatest is not None or self.sliced):
            self.told_now = True
            yield [], OVER if self.sliced else self.greatest

    def _batches(self) -> Iterator[tuple[Chunk, str | None]]:
        source, session = self.plan.source, self.session
        if source.canonical:
            yield from self._canonical()
            return
        request = Read(
            source.mapping.model.object or "",
            since=self.since,
            until=self.options.until,
            keys=self._native_keys() if self.options.records else None,
            fields=source.mapping.reads,
            query=self.plan.flow.source.query,
            deletes=self.plan.flow.source.deletes == "tombstones",
            deleted_since=self._deleted_since(),
            page=self.plan.flow.policy.batch,
        )
        ordered = source.info is not None and source.info.ordered and not self.options.records
        if self.options.given:
            yield list(self.options.given.values()), None
        if request.keys == ():
            return
        missing = set(self.options.gone)
        try:
            for name, part in self._parts():
                session.store.crashpoint("before read")
                asked = replace(request, slice=part, deletes=request.deletes and name in (None, NONE))
                for batch in session.connectors[source.connection].read(asked):
                    session.store.crashpoint("after read")
                    self._told_next = batch.deleted_until or self._told_next
                    missing.difference_update(record.key for record in batch.records)
                    yield batch.records, batch.reached if ordered and part is None else None
                if name is not None:
                    yield [], MARK + name
        except ConnectorError as error:
            raise self._position_told(error) from None
        if missing and self.plan.flow.source.deletes != "ignore":
            yield [Record(key, {}, deleted=True, raw=b"deleted") for key in sorted(missing)], None

    def _parts(self) -> Iterator[tuple[str | None, Slice | None]]:
        """The slices that are left of a read of everything, by their names; else one read of what is asked for."""
        given = self.plan.flow.source.partition
        if self.only is not None:
            yield from ((None, one) for one in self.only)
            return
        if given is None or not self.sliced:
            yield None, None
            return
        today = self.session.now.date()
        cut = layout(given, today)
        if self._pass is None or self._pass.layout != cut:
            self._pass = Pass(cut, instant(self.session.connectors[self.plan.source.connection].now()))
        self.resumed = self._pass.done is not None
        yield from left(given, today, self._pass.done)

    def _position_told(self, error: ConnectorError) -> ConnectorError:
        """A refusal to read from the saved position: the source may no longer have it, and then only a full run helps."""
        saved = self.since is not None and self.options.since is None
        if not saved or error.trouble not in ("refused", "cursor_lost"):
            return error
        told = error.problem
        hint = f"where the source no longer knows {self.since}, read everything: crosswalk run {self.plan.name} --full"
        return ConnectorError(
            error.trouble, Problem(told.code, told.message, told.at, f"{told.hint}; {hint}".lstrip("; "))
        )

    def _deleted_since(self) -> str | None:
        """From when on deletes are asked for: as far as they were told; a full read sees for itself what is gone."""
        if self.options.full or self.told is None:
            return self.since
        return self.options.since or earlier(self.told, self.plan.flow.source.lag)

    @property
    def sweeps(self) -> bool:
        """Whether what a complete read does not hold is taken for deleted: groups without members always are."""
        if self.plan.source.canonical and self.plan.source.mapping.model.group:
            return True
        deletes = self.plan.flow.source.deletes
        return deletes == "sweep" or (deletes == "tombstones" and self.options.full)

    def _native_keys(self) -> tuple[str, ...]:
        """`--record`: canonical ids or `connection:native_id`."""
        source, found = self.plan.source, []
        with self.session.reading() as tx:
            for one in self.options.records:
                connection, colon, native = one.partition(":")
                if colon and connection == source.connection:
                    found.append(native)
                    continue
                known = links.of_record(tx, one) if not colon else [
                    other for link in links.of_native(tx, connection, native) for other in links.of_record(tx, link.canonical_id)
                ]  # fmt: skip
                found += [link.native_id for link in known if link.connection == source.connection]
        return tuple(one for one in dict.fromkeys(found) if one not in self.options.given)

    def _canonical(self) -> Iterator[tuple[Chunk, str | None]]:
        if self.plan.source.mapping.model.group:
            yield self._grouped(), None
            return
        entity, chunk = self.plan.source.mapping.model.of or "", []
        with self.session.store.read() as tx:
            for stored in canonical.scan(tx, entity):
                if self.options.records and stored.id not in self.options.records:
                    continue
                chunk.append(Record(stored.id, decode_json(stored.data), deleted=stored.deleted, raw=stored.data))
                if len(chunk) >= self.plan.flow.policy.batch:
                    yield chunk, None
                    chunk = []
        yield chunk, None

    def _grouped(self) -> Chunk:
        """Many to one: one record a group, with its values, its totals, and how many there are (`members`).

        The whole entity is read each time, so a group is right whenever a member came, changed or left.
        """
        mapping = self.plan.source.mapping
        totals: dict[bytes, Fields] = {}
        texts = mapping.model.group or []
        with self.session.reading() as tx:
            for stored in canonical.scan(tx, mapping.model.of or ""):
                if stored.deleted:
                    continue
                record = decode_json(stored.data)
                values = [one.evaluate(record, self.session.env) for one in mapping.group]
                group = totals.setdefault(
                    canonical_json(values), {**dict(zip(texts, values, strict=True)), "members": 0}
                )
                group["members"] += 1
                for name, expression in mapping.sums.items():
                    value = expression.evaluate(record, self.session.env)
                    if value is not None:
                        group[name] = total([group[name], value], name) if name in group else value
        errand = self.options.errand
        return [
            Record(key.decode(), value)
            for key, value in sorted(totals.items())
            if errand is None or key.decode() in errand.wanted
        ]

    def cursor(self, reached: str | None) -> list[Any] | None:
        """[position, version] to save with a batch; None where the cursor stays. Never moves backwards."""
        blocked = self.options.plan or self.options.records or self.options.since is not None or self.session.moved
        if reached is None or blocked:
            return None
        if self._last is not None:
            self._version = self._last[1]
        if reached.startswith(MARK):
            return self._passed(reached.removeprefix(MARK))
        if self.plan.source.modified is None:
            return None
        new = self._told_next if self.told_now else self.told
        if self.position is not None and reached <= self.position and new == self.told:
            return None
        self.position, self.told = max(reached, self.position or reached), new
        saved = {"modified": self.position, **({"deleted": new} if new is not None else {})}
        self._last = [saved, self._version]
        return self._last

    def _passed(self, name: str) -> list[Any]:
        """The cursor after a slice, and after the last one: not beyond the moment at which the first one was read."""
        assert self._pass is not None
        self._pass = replace(self._pass, done=name)
        saved = {name: one for name, one in (("modified", self.position), ("deleted", self.told)) if one is not None}
        if MARK + name != OVER:
            self._last = [{**saved, "pass": self._pass.as_json()}, self._version]
            return self._last
        if self.plan.source.modified is not None and self.greatest is not None:
            began = (
                self._pass.began[: len("2026-01-31")] if len(self.greatest) == len("2026-01-31") else self._pass.began
            )
            saved["modified"] = self.position = min(self.greatest, began)
        if self._told_next is not None:
            saved["deleted"] = self.told = self._told_next
        self._last = [saved, self._version]
        return self._last


def earlier(position: str, lag: timedelta) -> str:
    """A position less the overlap; positions that are no instants or days are read again from themselves."""
    try:
        if len(position) == 10:
            return (datetime.fromisoformat(position) - max(lag, timedelta(days=1))).date().isoformat()
        moment = datetime.fromisoformat(position.replace("Z", "+00:00")) - lag
    except (ValueError, OverflowError):
        return position
    text = moment.isoformat()
    return text.replace("+00:00", "Z") if position.endswith("Z") else text
