"""A system held in memory: what flow tests put in the place of a workspace's connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from engine.run.items import merge_fields
from engine.sdk.config import ConnectionConfig, ConnectionContext
from engine.sdk.connector import (
    Batch,
    Connector,
    FieldInfo,
    Finding,
    ObjectInfo,
    Operation,
    Outcome,
    Read,
)
from engine.sdk.errors import ConnectorError, Problem, nearest
from engine.sdk.manifest import FieldSpec, Manifest, ObjectSpec
from engine.sdk.record import Fields, Record, same, text_key

KINDS = frozenset({"read", "find", "create", "update", "upsert", "delete", "append"})


class Sent(NamedTuple):
    """A write that the system took. kind: create, update or delete."""

    kind: str
    object: str
    key: str
    fields: Fields


class MemoryConnector(Connector[ConnectionConfig]):
    """Holds records by object and native id, takes every write, and remembers each in `sent`.

    Records that were there and are not in a later `put` are told as deleted where tombstones are asked for.
    """

    name, config_model = "memory", ConnectionConfig

    def __init__(
        self, config: ConnectionConfig, context: ConnectionContext, known: Callable[[str], ObjectInfo | None]
    ) -> None:
        super().__init__(config, context)
        self.known = known
        self.rows: dict[str, dict[str, Fields]] = {}
        self.gone: dict[str, dict[str, None]] = {}
        self.sent: list[Sent] = []

    def put(self, name: str, records: Sequence[Fields]) -> None:
        """Make these the records of an object."""
        before, info = self.rows.get(name, {}), self.describe(name)
        self.rows[name] = {text_key(one, info.key): dict(one) for one in records}
        gone = {**self.gone.get(name, {}), **dict.fromkeys(before)}
        self.gone[name] = {key: None for key in gone if key not in self.rows[name]}

    def check(self) -> list[Finding]:
        return [Finding(True, "it is in memory")]

    def objects(self) -> list[str]:
        return sorted(self.rows)

    def describe(self, name: str) -> ObjectInfo:
        found = self.known(name)
        if found is None:
            problem = Problem(
                "C504", f"{self.context.name} has no object {name!r}", None, nearest(name, self.objects())
            )
            raise ConnectorError("config", problem)
        return found

    def _record(self, info: ObjectInfo, key: str, value: Fields) -> Record:
        modified = at_path(value, info.modified) if info.modified else None
        return Record(key, value, None if modified is None else str(modified))

    def read(self, request: Read) -> Iterator[Batch]:
        info, rows = self.describe(request.object), self.rows.get(request.object, {})
        found = [
            self._record(info, key, value)
            for key, value in rows.items()
            if request.keys is None or key in request.keys
        ]  # fmt: skip
        since, until = request.since, request.until
        found = [
            one for one in found
            if one.modified is None or ((not since or one.modified >= since) and (not until or one.modified < until))
        ]  # fmt: skip
        if request.deletes:
            found += [Record(key, {}, deleted=True) for key in self.gone.get(request.object, {})]
        for start in range(0, len(found), request.page):
            yield Batch(found[start : start + request.page])

    def find(self, name: str, by: Sequence[Fields], fields: tuple[str, ...] = ()) -> list[list[Record]]:
        info, rows = self.describe(name), self.rows.get(name, {})
        return [
            [
                self._record(info, key, value)
                for key, value in rows.items()
                if all(same(at_path(value, path), wanted) for path, wanted in one.items())
            ]
            for one in by
        ]

    def write(self, name: str, operations: Sequence[Operation]) -> list[Outcome]:
        info = self.describe(name)
        return [self._write(info, operation) for operation in operations]

    def _write(self, info: ObjectInfo, operation: Operation) -> Outcome:
        rows, key = self.rows.setdefault(info.name, {}), operation.key
        if operation.kind not in info.operations:
            problem = Problem("C540", f"{info.name} takes no {operation.kind}")
            return Outcome(operation.id, "refused", key, problem=problem)
        if operation.kind == "delete":
            if key is None or rows.pop(key, None) is None:
                return Outcome(operation.id, "missing", key)
            self.gone.setdefault(info.name, {})[key] = None
            self.sent.append(Sent("delete", info.name, key, {}))
            return Outcome(operation.id, "deleted", key)
        if operation.kind == "update":
            changes = operation.changes if operation.changes is not None else operation.record
            return self._change(info, operation, key, changes)
        if operation.kind == "upsert":
            marked = next(
                (one for one, row in rows.items() if info.marker and row.get(info.marker) == operation.mark), None
            )
            key = key or marked
        key = key or self._given_key(info, operation.record)
        if key in rows and operation.kind == "upsert":
            return self._change(info, operation, key, operation.record)
        if key in rows:
            problem = Problem("C542", f"{info.name} {key!r} is there already")
            return Outcome(operation.id, "refused", key, problem=problem)
        key = key or f"new-{len([one for one in self.sent if one.kind == 'create']) + 1}"
        rows[key] = dict(operation.record)
        if len(info.key) == 1:
            rows[key].setdefault(info.key[0], key)
        if info.marker:
            rows[key][info.marker] = operation.mark
        self.sent.append(Sent("create", info.name, key, dict(operation.record)))
        return Outcome(operation.id, "created", key)

    def _given_key(self, info: ObjectInfo, record: Fields) -> str | None:
        """The native id that the record itself says, where it does."""
        given = all(record.get(name) is not None for name in info.key)
        return text_key(record, info.key) if given else None

    def _change(self, info: ObjectInfo, operation: Operation, key: str | None, changes: Fields) -> Outcome:
        rows = self.rows[info.name]
        if key is None or key not in rows:
            return Outcome(operation.id, "missing", key)
        rows[key] = merge_fields(rows[key], changes)
        self.sent.append(Sent("update", info.name, key, dict(changes)))
        return Outcome(operation.id, "updated", key)


def at_path(value: Any, path: str) -> Any:
    """The value at a dotted path; None where it ends early."""
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def of_manifest(manifest: Manifest, name: str) -> ObjectInfo | None:
    """An object as the manifest alone describes it; the system's own description is not asked for."""
    spec = manifest.objects.get(name)
    if spec is None:
        return None
    fields = tuple(_field(field, given) for field, given in spec.fields.items())
    return ObjectInfo(
        name, tuple(spec.key), fields, modified=spec.modified.field if spec.modified else None,
        modified_type=spec.modified.type if spec.modified else "instant", operations=_kinds(spec) | {"find"},
        partial=spec.partial, write_class=spec.class_, marker=spec.marker.field if spec.marker else None,
        tombstones=spec.deletes.kind != "none", late=0.0, index=0.0,
    )  # fmt: skip


def _kinds(spec: ObjectSpec) -> frozenset[str]:
    written = {kind for kind in ("create", "update", "upsert", "delete") if getattr(spec, kind) or kind in spec.batch}
    return frozenset(written | ({"read"} if spec.read else set()))


def _field(name: str, given: FieldSpec) -> FieldInfo:
    return FieldInfo(
        name, given.type, required=given.required, writable=given.writable, on_create_only=given.on_create,
        max_length=given.max_length, scale=given.scale, values=tuple(given.values) if given.values else None,
        references=tuple(given.references), label=given.label,
    )  # fmt: skip
