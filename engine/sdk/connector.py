"""The contract of a connector: what the engine asks of a system, and all that a system may answer.

A connector translates; it decides nothing. It keeps no state between calls but connections and tokens, never
retries a write on its own where the system may have taken it, and answers every operation with one outcome.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event
from typing import Any, ClassVar, Generic, Literal, TypeVar

from engine.sdk.cloudevents import CloudEvent
from engine.sdk.config import ConnectionConfig, ConnectionContext, WriteClass
from engine.sdk.errors import ConnectorError, Problem, Trouble
from engine.sdk.record import JSON, Fields, Record
from engine.sdk.webhook import WebhookAnswer, WebhookRequest

FieldType = Literal["string", "integer", "decimal", "boolean", "date", "datetime", "duration", "object", "array", "any"]
OperationKind = Literal["create", "update", "upsert", "delete", "append"]
OutcomeState = Literal[
    "created",
    "updated",
    "deleted",
    "matched",  # a create that found the record already there; key is its id
    "missing",  # update or delete of a record that is gone
    "conflict",  # a conditional write met another version
    "refused",  # definite no; the problem says why
    "retry",  # definitely not processed (429, 503 where the system says so, connection refused)
    "in_doubt",  # may or may not have been processed
]


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """A field as the system describes it. Unknown facts are None or the default."""

    name: str
    type: FieldType = "any"
    required: bool = False
    writable: bool = True
    on_create_only: bool = False
    max_length: int | None = None
    scale: int | None = None
    values: tuple[str, ...] | None = None
    references: tuple[str, ...] = ()
    label: str = ""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object (table, entity set, file) of a system and what can be done with it.

    key: fields that make the native id. modified: field of incremental reads. ordered: reads with `since`
    come in order of (modified, key), so the cursor may move batch by batch. operations: what `write` takes,
    beside `read` and `find`. partial: updates may hold only what changed. write_class, late, index: DELIVERY
    classes A–D and the seconds within which the system finishes late commits and indexes them.
    key_life: seconds for which the system remembers an idempotency key (class B).
    marker: field that keeps Crosswalk's mark. matches: fields that `find` can search by (None: any).
    per_call: how many writes of a kind go in one call to the system; a kind that it does not name goes one by one,
    and None means `max_batch` of any kind.
    tombstones: `read(deletes=True)` reports deleted records. rereads: a read goes over everything whatever its window,
    so that what cannot be read is told each time. slices: fields by which a read can be cut into slices.
    """

    name: str
    key: tuple[str, ...]
    fields: tuple[FieldInfo, ...] = ()
    modified: str | None = None
    modified_type: Literal["instant", "date", "number", "text"] = "instant"
    ordered: bool = False
    operations: frozenset[str] = frozenset({"read"})
    partial: bool = True
    write_class: WriteClass = "D"
    late: float = 120.0
    index: float = 120.0
    key_life: float = 0.0
    marker: str | None = None
    matches: tuple[str, ...] | None = None
    tombstones: bool = False
    rereads: bool = False
    slices: tuple[str, ...] = ()
    max_batch: int = 200
    per_call: Mapping[str, int] | None = None

    def calls(self, kind: str, count: int) -> int:
        """Calls to the system that so many writes of a kind take, refusals and retries apart."""
        size = self.max_batch if self.per_call is None else self.per_call.get(kind, 1)
        return -(-count // size)

    def field(self, name: str) -> FieldInfo | None:
        """The field of that name, if the system describes it."""
        return next((one for one in self.fields if one.name == name), None)


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of an object by a date or instant of its records: [low, high), days as YYYY-MM-DD. None: open at that end.

    Both None: the records that have no value there. What cannot be told belongs into every slice that it may belong to.
    """

    field: str
    low: str | None = None
    high: str | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """What to read. All conditions hold together.

    since: records modified at or after. until: modified before. keys: only these native ids.
    fields: top-level field names and dotted paths that mappings use; a connector that must name fields asks
    for these (and key and modified) and returns null for one that the answer leaves out; empty: all fields.
    query: the flow's connector-native parameters. deletes: also report deleted records (tombstones), from
    `deleted_since` on; None there: they need not be told, for the whole object is read. slice: only that part; asked for
    by fields of `ObjectInfo.slices` only, and all slices of a field together hold every record.
    """

    object: str
    since: str | None = None
    until: str | None = None
    keys: tuple[str, ...] | None = None
    fields: tuple[str, ...] = ()
    query: Mapping[str, JSON] = field(default_factory=dict)
    deletes: bool = False
    deleted_since: str | None = None
    slice: Slice | None = None
    page: int = 500


@dataclass(frozen=True, slots=True)
class Batch:
    """Some records. reached: every record modified before it has been given (ordered reads); else None.

    deleted_until: every delete before it has been given; where the next read starts to ask for deletes.
    """

    records: list[Record]
    reached: str | None = None
    deleted_until: str | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """An object's rows as two systems compare them: under a key, the fields that must be equal, in the other's order."""

    object: str
    key: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unlike:
    """What comparing by checksums gave. keys: native ids of rows that one side lacks or that are not alike. rows: how many
    there are, here and there. Where they cannot be compared so, why says it, and the rest says nothing."""

    keys: tuple[str, ...] = ()
    rows: tuple[int, int] = (0, 0)
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One intended write.

    id: our operation id; outcomes are keyed by it. key: native id (update, delete). record: the whole payload.
    changes: what differs from the last delivery (update; equals `record` where nothing is known).
    mark: Crosswalk's mark, written to the object's marker field by the connector on create and upsert.
    version: what the target held when it was read (conditional writes). idempotency_key: frozen with the body.
    send_by: value of `engine.sdk.clock.boot()` after which the operation must not be sent any more.
    correlation: what the record belongs together with others under; run: the run that sends it. Told to systems that
    take notes of such ids, in a header.
    """

    id: str
    kind: OperationKind
    record: Fields
    key: str | None = None
    changes: Fields | None = None
    mark: str | None = None
    version: str | None = None
    idempotency_key: str | None = None
    send_by: float | None = None
    correlation: str | None = None
    run: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one operation. key: native id where known. wait: seconds the system asked for.

    job: the system's job that holds the operation, where it is not known to be over. trouble: of a `retry`, what is
    wrong with the system as a whole (out of reach, not called, asks for a pause); None where it may be this record.
    """

    id: str
    state: OutcomeState
    key: str | None = None
    version: str | None = None
    problem: Problem | None = None
    wait: float | None = None
    job: str | None = None
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `connectors check`: ok or not, what was tried, what to do."""

    ok: bool
    what: str
    hint: str = ""


Take = Callable[[Mapping[str, str], bytes], bool]
"""(headers in lower case, body) → whether the message is kept now. False: it is no event, and never will be."""

C = TypeVar("C", bound=ConnectionConfig)


class Connector(ABC, Generic[C]):
    """A system. One instance a connection and run; its methods may be called from several threads."""

    name: ClassVar[str]
    config_model: ClassVar[type[ConnectionConfig]]

    def __init__(self, config: C, context: ConnectionContext) -> None:
        self.config = config
        self.context = context

    @abstractmethod
    def check(self) -> list[Finding]:
        """Try the connection the cheapest way that proves it: reachable, credentials, rights, marker fields."""

    @abstractmethod
    def objects(self) -> list[str]:
        """Names of the objects that can be read or written."""

    @abstractmethod
    def describe(self, name: str) -> ObjectInfo:
        """Facts of one object. Raises ConnectorError C504 with the nearest name for an unknown one."""

    def metadata(self, name: str) -> ObjectInfo:
        """`describe` with what the system itself tells of the object's fields, which may take a request."""
        return self.describe(name)

    @abstractmethod
    def read(self, request: Read) -> Iterator[Batch]:
        """Records in batches of about `request.page`. A read that cannot be finished raises; it never just ends."""

    @abstractmethod
    def find(self, name: str, by: Sequence[Fields], fields: tuple[str, ...] = ()) -> list[list[Record]]:
        """For each condition (field → value, all equal) the records that hold it, in the order of `by`."""

    @abstractmethod
    def write(self, name: str, operations: Sequence[Operation]) -> list[Outcome]:
        """Send the operations; one outcome each, in the order given. Raises only if nothing was sent at all."""

    def outcomes(self, name: str, job: str, operations: Sequence[Operation], *, uploaded: bool) -> list[Outcome] | None:
        """What became of operations in a job that an interrupted `write` told of (`ConnectionContext.opened`).

        None while the job goes on. A job whose rows were uploaded and that waits for its start is started; one without
        its rows never will be: its operations are answered with `retry`. Raises ConnectorError where it cannot be asked.
        """
        raise ConnectorError(
            "config", Problem("C540", f"{self.config.connector} has no jobs", None, "see the manifest's `jobs`")
        )

    def webhook(self, request: WebhookRequest) -> WebhookAnswer:
        """Verify a call that the system made to us and say what it tells. It fails closed: what cannot be verified is
        refused. Opens no connection."""
        problem = Problem("C550", f"{self.config.connector} takes no webhooks", None, "use a schedule")
        return WebhookAnswer("refused", status=404, problem=problem)

    def publish(self, topic: str, events: Sequence[CloudEvent]) -> list[Outcome]:
        """Send events, in this order; one outcome each, keyed by the event's id: `created` (it has it), `refused`, `retry`
        or `in_doubt`. topic: the connector's own word for where; empty: the connection's default. What is sent again
        has the same id. Raises ConnectorError only if nothing was sent at all."""
        raise ConnectorError("config", Problem("C553", f"{self.config.connector} takes no events", None,
                                               "send them to a connection that does, such as nats, rabbitmq or cloudevents"))  # fmt: skip

    def consume(self, take: Take, stop: Event) -> None:
        """Hand over messages until `stop` is set. Each is acknowledged only once `take` came back: it is kept then; one
        that `take` refuses is set aside for good. Whatever it raises leaves the message with the system."""
        raise ConnectorError("config", Problem("C553", f"{self.config.connector} has no events to read", None,
                                               "read them from a connection that has, such as nats or rabbitmq"))  # fmt: skip

    def unlike(self, mine: Rows, other: Connector[Any], theirs: Rows) -> Unlike:
        """Compare rows with another system's where they lie, by checksums, so that what is equal is never read.

        What is not named is equal in every field; what is named may still mean the same. Default: it cannot be done.
        """
        return Unlike(why="it is no database")

    def get(self, name: str, keys: Sequence[str], fields: tuple[str, ...] = ()) -> dict[str, Record]:
        """Records by native id; those that do not exist are left out."""
        found: dict[str, Record] = {}
        for batch in self.read(Read(name, keys=tuple(keys), fields=fields)):
            found.update((record.key, record) for record in batch.records)
        return found

    def now(self) -> datetime:
        """The system's clock in UTC: the upper bound of a read window. Default: ours."""
        return datetime.now(UTC)

    def close(self) -> None:
        """Let go of sockets, files and pools. Safe to call twice."""

    def __enter__(self) -> Connector[C]:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()
