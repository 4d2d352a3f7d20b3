"""Functions of expressions and of `transform`, by name. Each has types, one line of manual and executed examples."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from engine.compile.functions.function import Function, FunctionFault, TransformCall, function
from engine.sdk.errors import Position, Problem, SpecError, nearest


@cache
def builtin() -> dict[str, Function]:
    """Every function of the language."""
    from engine.compile.functions import collections, dates, numbers, texts, values

    found: dict[str, Function] = {}
    for module in (texts, dates, numbers, values, collections):
        found.update((one.name, one) for one in module.FUNCTIONS)
    return found


class FunctionSet:
    """The built-in functions and a workspace's own."""

    def __init__(self, own: Iterable[Function] = ()) -> None:
        self._own = {one.name: one for one in own}

    @classmethod
    def of_workspace(cls, path: Path) -> FunctionSet:
        """Functions of `functions.py`: those made with `@function`. The file is code that an operator installed."""
        spec = importlib.util.spec_from_file_location("crosswalk_workspace_functions", path)
        at = Position(path.name)
        if spec is None or spec.loader is None or not path.is_file():
            raise SpecError(Problem("E130", f"there is no file {path.name!r}", at, "create it, or drop `functions`"))
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise SpecError(
                Problem("E273", f"{path.name} cannot be loaded: {type(error).__name__}: {error}", at, "correct it")
            ) from error
        return cls(one for one in vars(module).values() if isinstance(one, Function))

    def get(self, name: str) -> Function | None:
        """The function of that name."""
        return self._own.get(name) or builtin().get(name)

    def names(self) -> list[str]:
        return sorted({*builtin(), *self._own})

    def transform(self, name: str, arguments: tuple[Any, ...], at: Position) -> TransformCall:
        """A function bound to its arguments, for `transform:`. Raises SpecError where it cannot be called so."""
        found = self.get(name)
        if found is None:
            raise SpecError(Problem("E271", f"there is no function {name!r}", at, nearest(name, self.names())))
        fault = found.arity_fault(1 + len(arguments))
        if fault or found.env:
            reason = fault or f"{name}() cannot stand in `transform`"
            raise SpecError(Problem("E272", reason, at, f"write {found.signature}"))
        call = found.call
        bound = call if not arguments else (lambda value: call(value, *arguments))
        return TransformCall(bound, found.cleaning)


__all__ = ["Function", "FunctionFault", "FunctionSet", "TransformCall", "builtin", "function"]
