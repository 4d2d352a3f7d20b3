"""Date macros of SOQL as ranges of days: TODAY, LAST_N_DAYS:30, THIS_MONTH; in the user's time zone, which is UTC here."""

from __future__ import annotations

from datetime import date, timedelta

_MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}


def span(macro: str, today: date) -> tuple[date, date]:
    """First day, and the day after the last one."""
    name, _, count = macro.partition(":")
    if name in ("TODAY", "YESTERDAY", "TOMORROW"):
        first = today + timedelta(days={"TODAY": 0, "YESTERDAY": -1, "TOMORROW": 1}[name])
        return first, first + timedelta(days=1)
    which, _, unit = name.partition("_")
    if unit.startswith("N_") or unit == "90_DAYS":
        return _counted(which, unit.removeprefix("N_").removeprefix("90_").removesuffix("S"), int(count or 90), today)
    step = {"THIS": 0, "LAST": -1, "NEXT": 1}[which]
    return _unit(unit, today, step), _unit(unit, today, step + 1)


def _counted(which: str, unit: str, count: int, today: date) -> tuple[date, date]:
    if unit == "DAY":  # LAST_N_DAYS holds today, NEXT_N_DAYS begins tomorrow
        tomorrow = today + timedelta(days=1)
        return (
            (today - timedelta(days=count), tomorrow)
            if which == "LAST"
            else (tomorrow, tomorrow + timedelta(days=count))
        )
    if which == "LAST":
        return _unit(unit, today, -count), _unit(unit, today, 0)
    return _unit(unit, today, 1), _unit(unit, today, count + 1)


def _unit(unit: str, today: date, step: int) -> date:
    """First day of the week, month, quarter or year so many steps away."""
    if unit == "WEEK":  # weeks begin on Sunday
        return today - timedelta(days=(today.weekday() + 1) % 7) + timedelta(weeks=step)
    size = _MONTHS[unit]
    month = (today.year * 12 + today.month - 1) // size * size + step * size
    return date(month // 12, month % 12 + 1, 1)
