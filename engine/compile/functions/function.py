"""What a function is: name, typed parameters, examples that are executed, and how it behaves backwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

Body = Callable[..., Any]
TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, Decimal),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


class FunctionFault(Exception):
    """A function met a value that it cannot take; the text says what it wanted."""


@dataclass(frozen=True, slots=True)
class TransformCall:
    """A function bound for `transform`; cleaning ones also run on the way back."""

    call: Body
    cleaning: bool


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the language.

    parameters: one text a parameter, types joined by '|' ('any', 'string', 'array[number]', 'expref'); a last one
    ending in '...' repeats, one ending in '?' may be left out. examples: (expression, result).
    """

    name: str
    parameters: tuple[str, ...]
    doc: str
    examples: tuple[tuple[str, Any], ...]
    body: Body
    env: bool = False
    cleaning: bool = False
    inverse: str | None = None
    keeps_shape: bool = False

    @property
    def signature(self) -> str:
        """How it is called, for messages and the reference."""
        return f"{self.name}({', '.join(self.parameters)})"

    def arity_fault(self, count: int) -> str | None:
        """What is wrong with so many arguments, if anything."""
        least = sum(not one.endswith(("?", "...")) for one in self.parameters)
        endless = bool(self.parameters) and self.parameters[-1].endswith("...")
        if endless:
            least = max(least, 1)
        if count < least or (not endless and count > len(self.parameters)):
            wanted = f"at least {least}" if endless else str(least) if least == len(self.parameters) else (
                f"{least} to {len(self.parameters)}"
            )  # fmt: skip
            return f"{self.name}() takes {wanted} argument{'s' * (wanted != '1')}, got {count}"
        return None

    def takes_expression(self, number: int) -> bool:
        """True where an argument is an expression such as &name."""
        return "expref" in self.parameter(number)

    def parameter(self, number: int) -> str:
        text = self.parameters[min(number, len(self.parameters) - 1)] if self.parameters else "any"
        return text.rstrip("?").removesuffix("...")

    @property
    def call(self) -> Body:
        """The function with its arguments checked."""
        if all(one in ("any", "any...", "any?") for one in self.parameters):
            return self.body
        return _checked(self)


def _checked(function: Function) -> Body:
    name, body, skip = function.name, function.body, 1 if function.env else 0
    tests = [_test(function.parameter(number)) for number in range(max(len(function.parameters), 1))]
    last = len(tests) - 1

    first = tests[0]
    if (
        len(function.parameters) == 1
        and not skip
        and first is not None
        and not function.parameters[0].endswith(("...", "?"))
    ):
        wanted = function.parameter(0).replace("|", " or ")

        def single(value: Any) -> Any:
            if (value.__class__ is not str and not first(value)) or (value.__class__ is str and "string" not in wanted):
                raise FunctionFault(f"{name}() wants {wanted}, got {_kind(value)}")
            return body(value)

        return single

    def call(*arguments: Any) -> Any:
        for number, value in enumerate(arguments[skip:]):
            test = tests[number if number < last else last]
            if test is not None and not test(value):
                wanted = function.parameter(number).replace("|", " or ")
                raise FunctionFault(f"{name}() wants {wanted}, got {_kind(value)}")
        return body(*arguments)

    return call


def _test(text: str) -> Callable[[Any], bool] | None:
    """A test of a parameter's type; None where anything goes."""
    if text in ("any", "expref"):
        return None
    classes: tuple[type, ...] = ()
    lists: list[tuple[type, ...]] = []
    for one in text.split("|"):
        if one.startswith("array["):
            lists.append(TYPES[one[6:-1]])
        else:
            classes += TYPES[one]

    def test(value: Any) -> bool:
        if value.__class__ in classes:
            return True
        if value.__class__ is not list:
            return False
        return any(all(item.__class__ in allowed for item in value) for allowed in lists)

    return test


def _kind(value: Any) -> str:
    for name, classes in TYPES.items():
        if value.__class__ in classes:
            return name
    return type(value).__name__


def function(
    *parameters: str, examples: Sequence[tuple[str, Any]] = (), name: str | None = None, **flags: Any
) -> Callable[[Body], Function]:
    """Make a function of the language from a Python one; its docstring's first line is the manual."""

    def make(body: Body) -> Function:
        doc = (body.__doc__ or "").strip().splitlines()
        title = name or body.__name__.rstrip("_")
        return Function(title, tuple(parameters), doc[0] if doc else "", tuple(examples), body, **flags)

    return make
