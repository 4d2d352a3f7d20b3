"""Functions of numbers, exact on Decimal."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal, localcontext
from typing import Any

from engine.compile.casts import CastFault, to_decimal
from engine.compile.functions.function import FunctionFault, function
from engine.compile.operators import number
from engine.sdk.money import minor_digits

EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)
Number = int | Decimal


@function("any", name="decimal", examples=[("decimal('1.50')", Decimal("1.50")), ("decimal(null_field)", None)])
def decimal_(value: Any) -> Decimal | None:
    """A number from text; null stays null."""
    if value is None:
        return None
    try:
        return to_decimal(value)
    except CastFault as fault:
        raise FunctionFault(f"decimal(): {fault}") from None


@function("number|null", "number", examples=[("round_half_even(`2.345`, `2`)", Decimal("2.34"))])
def round_half_even(value: Number | None, places: int) -> Decimal | None:
    """A number at so many decimals, halves to the even neighbour."""
    if value is None:
        return None
    if not 0 <= places <= 30:
        raise FunctionFault("round_half_even() wants 0 to 30 places")
    return Decimal(value).quantize(Decimal(1).scaleb(-int(places)), context=EXACT)


@function("number", name="abs", examples=[("abs(`-1.5`)", Decimal("1.5"))])
def abs_(value: Any) -> Any:
    """A number without its sign."""
    return abs(value)


@function("number", examples=[("ceil(`1.001`)", 2)])
def ceil(value: Number) -> int:
    """The next whole number up."""
    return int(Decimal(value).to_integral_value(ROUND_CEILING))


@function("number", examples=[("floor(`1.999`)", 1)])
def floor(value: Number) -> int:
    """The next whole number down."""
    return int(Decimal(value).to_integral_value(ROUND_FLOOR))


def _money(values: list[Any]) -> bool:
    return bool(values) and all(one.__class__ is dict and {"amount", "currency"} <= one.keys() for one in values)


def total(values: list[Any], what: str = "sum") -> Any:
    """The exact sum of numbers, or of money of one currency."""
    if _money(values):
        currencies = sorted({str(one["currency"]) for one in values})
        if len(currencies) > 1:
            raise FunctionFault(f"{what}() over several currencies ({', '.join(currencies)}); convert them first")
        return {"amount": total([one["amount"] for one in values], what), "currency": currencies[0]}
    if not all(map(number, values)):
        raise FunctionFault(f"{what}() wants numbers, or money of one currency")
    with localcontext(EXACT):
        return sum(values)


@function("array", name="sum", examples=[("sum(`[0.1, 0.2]`)", Decimal("0.3")), ("sum(`[]`)", 0)])
def sum_(values: list[Any]) -> Any:
    """The exact sum of a list of numbers, or of money of one currency."""
    return total(values)


@function("array[number]", examples=[("avg(`[1, 2]`)", Decimal("1.5"))])
def avg(values: list[Any]) -> Decimal | None:
    """The mean of a list of numbers, to 28 digits; null for an empty one."""
    if not values:
        return None
    with localcontext(Context(prec=28, rounding=ROUND_HALF_EVEN)):
        return Decimal(total(values, "avg")) / len(values)


@function(
    "number|object|null",
    "number|null",
    examples=[
        ("multiply(`1.1`, `1.1`)", Decimal("1.21")),
        ('multiply(`{"amount": 10.25, "currency": "EUR"}`, `0.5`)', {"amount": Decimal("5.12"), "currency": "EUR"}),
    ],
)
def multiply(value: Any, factor: Number | None) -> Any:
    """A number times another, exact; money times a number, half even to the currency's unit; null where one is."""
    if value is None or factor is None:
        return None
    with localcontext(EXACT):
        if number(value):
            return value * factor
        if not _money([value]) or not number(value["amount"]):
            raise FunctionFault("multiply() wants numbers, or money and a number")
        try:
            unit = Decimal(1).scaleb(-minor_digits(str(value["currency"])))
        except ValueError as error:
            raise FunctionFault(f"multiply(): {error}") from None
        amount = (Decimal(value["amount"]) * factor).quantize(unit, ROUND_HALF_EVEN)
    return {"amount": amount, "currency": value["currency"]}


@function("object|null", "array|null", examples=[])
def spread(money: dict[str, Any] | None, over: list[Any] | None) -> list[dict[str, Any]] | None:
    """Money in equal parts over names, such as months: [{name, amount}]. The parts sum to it, to the smallest unit.

    What does not divide goes to the first ones, one unit each.
    """
    if money is None or over is None:
        return None
    if not _money([money]):
        raise FunctionFault("spread() wants money: {amount, currency}, and a list")
    try:
        unit = Decimal(1).scaleb(-minor_digits(str(money["currency"])))
    except ValueError as error:
        raise FunctionFault(f"spread(): {error}") from None
    with localcontext(EXACT):
        units = Decimal(money["amount"]) / unit
        if units != units.to_integral_value():
            raise FunctionFault(f"spread(): {money['amount']} is finer than {money['currency']} is paid in")
        share, rest = divmod(abs(int(units)), max(len(over), 1))
        sign = -1 if units < 0 else 1
        return [
            {"name": name, "amount": {"amount": sign * (share + (number < rest)) * unit, "currency": money["currency"]}}
            for number, name in enumerate(over)
        ]


@function("object|null", "string", "string?", env=True, examples=[])
def money_convert(env: Any, money: dict[str, Any] | None, currency: str, day: str | None = None) -> Any:
    """An amount of money in another currency, by the dated table of rates."""
    if money is None:
        return None
    if not _money([money]):
        raise FunctionFault("money_convert() wants money: {amount, currency}")
    return money if money["currency"] == currency else env.convert(money, currency, day)


FUNCTIONS = (decimal_, round_half_even, abs_, ceil, floor, sum_, avg, multiply, spread, money_convert)
