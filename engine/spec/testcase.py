"""`tests/*.yaml` of a workspace: what a mapping or a flow must make of given records."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from engine.sdk.config import Config
from engine.spec.about import About


class Rejects(Config):
    """A refusal that is expected."""

    field: str | None = None
    code: str | None = None


class Case(Config):
    """One case: what is given and what must come of it."""

    name: str | None = None
    given: Any = None
    expect: dict[str, Any] | None = None
    """Subset of the result."""
    exactly: dict[str, Any] | None = None
    """The whole result."""
    rejects: Rejects | None = None
    round_trip: bool | None = None
    links: dict[str, list[dict[str, str]]] | None = None
    tables: dict[str, list[dict[str, Any]]] | None = None
    records: dict[str, list[dict[str, Any]]] | None = None
    expect_writes: dict[str, list[dict[str, Any]]] | None = None
    expect_exceptions: list[dict[str, Any]] | None = None


class TestFile(Case):
    """A test document: one case, or several under `cases` that share links and tables."""

    __test__ = False
    test: str
    about: About | None = None
    extends: str | None = None
    remove: list[str] | None = None
    mapping: str | None = None
    flow: str | None = None
    direction: Literal["inbound", "outbound"] = "inbound"
    cases: list[Case] = Field(default_factory=list)

    @model_validator(mode="after")
    def _whole(self) -> TestFile:
        if (self.mapping is None) == (self.flow is None):
            raise ValueError("write either `mapping` or `flow`")
        if not self.cases and self.given is None:
            raise ValueError("has no case: write `given`, or several under `cases`")
        for case in self.every_case():
            if case.given is None:
                raise ValueError("has a case that gives nothing: write `given`")
            outcomes = (case.expect, case.exactly, case.rejects, case.round_trip,
                        case.expect_writes, case.expect_exceptions)  # fmt: skip
            if all(one is None for one in outcomes):
                raise ValueError("has a case that expects nothing: write `expect`, `exactly` or `rejects`")
        return self

    def every_case(self) -> list[Case]:
        """The cases; the document itself where it is one."""
        return self.cases or [self]
