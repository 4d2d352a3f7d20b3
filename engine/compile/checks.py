"""Business checks and totals of a flow, compiled: `checks`, `collect`, `where` and `when`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.compile.expression import Expression, compile_expression
from engine.compile.ownership import true
from engine.compile.shape import Shape
from engine.compile.template import Template, compile_template
from engine.sdk.errors import Position, Problem, Problems, SpecError
from engine.sdk.record import Fields
from engine.spec.load import Document
from engine.spec.sync import Check


@dataclass(frozen=True, slots=True)
class CompiledCheck:
    """One business rule. severity: quarantine, warn or skip."""

    name: str
    at: Position
    that: Expression
    otherwise: Template | None
    queue: str | None
    severity: str

    def holds(self, record: Fields, env: Any) -> bool:
        """Whether the record passes."""
        return true(self.that.evaluate(record, env))

    def problem(self, record: Fields, env: Any) -> Problem:
        """What to tell a person about a record that does not pass."""
        text = self.otherwise.render(record, env) if self.otherwise else f"does not hold: {self.that.text}"
        return Problem("E430", f"{self.name}: {text}", self.at, "correct the record, then replay it")


def compile_checks(document: Document, checks: Sequence[Check], shape: Shape) -> tuple[CompiledCheck, ...]:
    """The checks of a flow in their order. Raises SpecError for expressions that the schema cannot answer."""
    problems, compiled = Problems(), []
    for number, check in enumerate(checks):
        place = ("checks", number)
        try:
            that = compile_expression(check.that, document.at(*place, "that"), shape=shape)
        except SpecError as error:
            problems.extend(error.problems)
            continue
        otherwise = None
        if check.otherwise is not None:
            try:
                otherwise = compile_template(
                    check.otherwise, document.at(*place, "otherwise"), mode="message", shape=shape
                )
            except SpecError as error:
                problems.extend(error.problems)
        compiled.append(
            CompiledCheck(check.name, document.at(*place, "that"), that, otherwise, check.queue, check.severity)
        )
    problems.raise_any()
    return tuple(compiled)
