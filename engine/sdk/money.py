"""Minor units of currencies: how many decimals an amount has, as the library's table `currencies` says (ISO 4217)."""

from __future__ import annotations

import csv
from functools import cache

from engine.sdk.library import library_folder


@cache
def _digits() -> dict[str, int | None]:
    with (library_folder() / "mappings/tables/currencies.csv").open(encoding="utf-8", newline="") as stream:
        return {row["code"]: int(row["digits"]) if row["digits"] else None for row in csv.DictReader(stream)}


def minor_digits(currency: str) -> int:
    """Decimals of the currency's smallest unit: 2 for EUR, 0 for JPY, 3 for KWD.

    Raises:
        ValueError: ISO 4217 has no such code, or gives it no smallest unit (gold, XXX); guessing two would alter amounts.
    """
    digits = _digits().get(currency)
    if digits is None:
        why = "has no smallest unit" if currency in _digits() else "is no currency of ISO 4217"
        raise ValueError(f"{currency} {why}")
    return digits
