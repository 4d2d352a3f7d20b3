"""`tests/*.yaml` of a workspace: what a mapping or a flow must make of given records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from engine.sdk.config import Config, Duration
from engine.spec.about import About


def _text(value: object) -> object:
    """Native ids and keys are text wherever they are kept; `88` may stand for `"88"`."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Text = Annotated[str, BeforeValidator(_text)]


class Rejects(Config):
    """A refusal that is expected."""

    field: str | None = None
    code: str | None = None


class Write(Config):
    """One write that a target is expected to get: `create`, `update` or `delete`."""

    create: dict[str, Any] | None = None
    """Fields that the new record must have, beside others."""
    update: dict[str, Any] | None = None
    """Fields that the update must send, beside others."""
    delete: Text | None = None
    """Native id of the record that is deleted."""
    object: str | None = None
    """The object that is written, where a target of that name writes several."""
    key: Text | None = None
    """Native id of the record that is updated."""

    @model_validator(mode="after")
    def _one(self) -> Write:
        given = [name for name in ("create", "update", "delete") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("write one of `create`, `update` and `delete`")
        if self.key is not None and self.update is None:
            raise ValueError("`key` stands beside `update` only")
        return self

    @property
    def kind(self) -> str:
        """create, update or delete."""
        return next(name for name in ("create", "update", "delete") if getattr(self, name) is not None)


class ExpectedException(Config):
    """An exception that a flow is expected to leave. What is not said is not compared."""

    key: Text | None = None
    """Native id of the record in the source."""
    code: str | None = None
    queue: str | None = None
    target: str | None = None
    stage: str | None = None
    state: Literal["open", "waiting"] | None = None
    message: str | None = None
    """A part of the message."""


class ExpectedBreak(Config):
    """A break that a reconciliation is expected to find. What is not said is not compared."""

    class_: str | None = Field(None, alias="class")
    """missing_<side>, duplicate, mismatch, stale, wrong_owner or in_flight."""
    label: Text | None = None
    """The record as people call it."""
    key: Any = None
    """What joins the sides: a value, or a list of several; with `key: links` any id of the record."""
    fields: dict[str, Any] | None = None
    """Path → the values of the sides in their order, or side → value. All that differs; no others."""
    cause: str | None = None
    amount: Text | None = None
    """Amount and currency, such as `12.50 EUR`."""
    queue: str | None = None
    state: Literal["open", "accepted"] | None = None
    why: str | None = None
    """A part of what explains it."""


class Happens(Config):
    """An event that comes in while instances wait for it."""

    event: str
    """Its type; the major version may be left out."""
    for_: Text | None = Field(None, alias="for")
    """The record that it is about; default: whatever the instances that wait for it ask about."""
    data: dict[str, Any] = {}


class ExpectedInstance(Config):
    """Where a process instance is expected to stand. What is not said is not compared."""

    state: Literal["running", "waiting", "compensating", "needs_person", "paused", "done", "compensated", "cancelled",
                   "expired"]  # fmt: skip
    step: str | None = None
    """The step that it stands at."""
    waiting: Literal["approval", "event", "timer", "repair"] | None = None
    record: Text | None = None
    """The record that it is about: its native id in the source, or any id of the test's `links`."""
    message: str | None = None
    """A part of why it stands there."""


def _happens(value: object) -> object:
    """`project.staffed` may stand for `{ event: project.staffed }`."""
    return {"event": value} if isinstance(value, str) else value


def _instances(value: object) -> object:
    """`done` may stand for `[{ state: done }]`, and one instance for a list of one."""
    given = value if isinstance(value, list) else [value]
    return [{"state": one} if isinstance(one, str) else one for one in given]


Event = Annotated[Happens, BeforeValidator(_happens)]
Instances = Annotated[list[ExpectedInstance], BeforeValidator(_instances)]


class Fixture(Config):
    """What the cases of a test stand on."""

    links: dict[str, list[dict[str, Text]]] = {}
    """Entity → rows of connection (or system) → native id; `id` may name the canonical id."""
    tables: dict[str, list[dict[str, Any]]] = {}
    """Table → rows, in place of its own."""
    records: dict[str, list[dict[str, Any]]] = {}
    """Entity → canonical records that are known before, each with its `id`."""


class Step(Config):
    """One run of a flow: what the systems hold by then, and what must come of it."""

    flow: str | None = None
    """Another flow than the test's."""
    now: str | None = None
    """The run's start, an instant."""
    given: dict[str, dict[str, list[dict[str, Any]]]] | None = None
    """Connection → object → its records. Objects that are not named keep what they hold."""
    expect_writes: dict[str, list[Write]] | None = None
    """Target → every write that it gets, in any order. Targets that are not named get none."""
    expect_exceptions: list[ExpectedException] = []
    """Every exception that is open or waiting afterwards, in any order."""
    expect_records: dict[str, list[dict[str, Any]]] | None = None
    """Entity → every canonical record that it has afterwards, in any order, each with these fields beside others."""
    expect_breaks: list[ExpectedBreak] | None = None
    """Reconciliation: every break that is open or accepted afterwards, in any order."""
    expect_run: dict[str, Any] | None = None
    """Parts of the run's answer as `run --json` prints it: state, counts, held_because."""
    again: Literal["nothing", "anything"] = "nothing"
    """What a second run, reading everything, may write."""
    after: Duration | None = None
    """Process: so much time passes before it, for timeouts and for approvals that expire."""
    approvals: dict[str, Literal["approve", "reject"]] = {}
    """Process: `approve` step → how a second person decides, once the step asks."""
    events: list[Event] = []
    """Process: what comes in, each once an instance waits for it."""
    expect_state: Instances | None = None
    """Process: where the latest instance of every record stands afterwards, in any order."""

    @property
    def expects(self) -> bool:
        """True where it says what must come of it."""
        return bool(
            self.expect_exceptions
            or any(
                one is not None
                for one in (
                    self.expect_writes,
                    self.expect_records,
                    self.expect_run,
                    self.expect_state,
                    self.expect_breaks,
                )
            )
        )


class Case(Fixture):
    """One case: what is given and what must come of it."""

    name: str | None = None
    given: Any = None
    """Mapping: a record. Flow: connection → object → records."""
    expect: dict[str, Any] | list[dict[str, Any]] | None = None
    """Part of the result; a list where the mapping makes several records of one."""
    exactly: dict[str, Any] | list[dict[str, Any]] | None = None
    """The whole result."""
    rejects: Rejects | None = None
    skipped: Literal[True] | None = None
    """The mapping's `where` leaves the record out."""
    round_trip: Literal[True] | None = None
    """What is sent back and read again gives the same."""
    now: str | None = None
    expect_writes: dict[str, list[Write]] | None = None
    expect_exceptions: list[ExpectedException] = []
    expect_records: dict[str, list[dict[str, Any]]] | None = None
    expect_breaks: list[ExpectedBreak] | None = None
    expect_run: dict[str, Any] | None = None
    again: Literal["nothing", "anything"] = "nothing"
    approvals: dict[str, Literal["approve", "reject"]] = {}
    events: list[Event] = []
    expect_state: Instances | None = None
    then: list[Step] = []
    """Flow: runs that follow, on the same state and systems."""


MAPPING_KEYS = ("expect", "exactly", "rejects", "skipped", "round_trip")
PROCESS_KEYS = ("approvals", "events", "expect_state", "after")
FLOW_KEYS = (
    "expect_writes", "expect_exceptions", "expect_records", "expect_breaks", "expect_run", "then", *PROCESS_KEYS[:3]
)  # fmt: skip


class TestFile(Case):
    """A test document: one case, or several under `cases` that share links, tables and records."""

    __test__ = False
    test: str
    about: About | None = None
    extends: str | None = None
    remove: list[str] | None = None
    mapping: str | None = None
    flow: str | None = None
    direction: Literal["inbound", "outbound"] = "inbound"
    cases: list[Case] = Field(default_factory=list)
    keys: dict[str, dict[str, str | list[str]]] = {}
    """Flow: connection → object → field or fields that identify a record, where neither manifest nor settings say it."""

    @model_validator(mode="after")
    def _whole(self) -> TestFile:
        if (self.mapping is None) == (self.flow is None):
            raise ValueError("write either `mapping` or `flow`")
        if not self.cases and self.given is None:
            raise ValueError("has no case: write `given`, or several under `cases`")
        for case in self.every_case():
            if case.given is None:
                raise ValueError("has a case that gives nothing: write `given`")
            if self.mapping is not None:
                self._mapping_case(case)
            else:
                self._flow_case(case)
        return self

    def _mapping_case(self, case: Case) -> None:
        strange = next((name for name in FLOW_KEYS if getattr(case, name)), None)
        if strange:
            raise ValueError(f"`{strange}` is for tests of a `flow`: write `expect`, `exactly` or `rejects`")
        if not isinstance(case.given, dict):
            raise ValueError("`given` is one record: write its fields")
        if all(getattr(case, name) is None for name in MAPPING_KEYS):
            raise ValueError("has a case that expects nothing: write `expect`, `exactly` or `rejects`")
        if case.round_trip and self.direction == "outbound":
            raise ValueError("`round_trip` starts from a record of the system: leave `direction` out")

    def _flow_case(self, case: Case) -> None:
        strange = next((name for name in MAPPING_KEYS if getattr(case, name) is not None), None)
        if strange:
            raise ValueError(f"`{strange}` is for tests of a `mapping`: write `expect_writes` or `expect_exceptions`")
        objects = case.given.values() if isinstance(case.given, dict) else [None]
        if not all(isinstance(one, dict) and all(isinstance(rows, list) for rows in one.values()) for one in objects):
            raise ValueError("`given` of a flow is connection → object → records: write `crm: { Account: [{ … }] }`")
        for step in steps_of(case):
            if not step.expects:
                raise ValueError("has a run that expects nothing: write `expect_writes` or `expect_exceptions`")

    def every_case(self) -> list[Case]:
        """The cases; the document itself where it is one."""
        return self.cases or [self]


def steps_of(case: Case) -> Iterator[Step]:
    """The runs of a flow's case: its own, then those under `then`."""
    yield Step.model_construct(
        **{name: getattr(case, name) for name in Step.model_fields if name != "flow" and name in Case.model_fields}
    )
    yield from case.then
