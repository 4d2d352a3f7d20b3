"""The seed as a whole: every system in its order, from one source of chance."""

from __future__ import annotations

import random

from connectors.sandbox.seed.crm import fill_crm
from connectors.sandbox.seed.erp import fill_erp
from connectors.sandbox.seed.psa import fill_psa
from connectors.sandbox.store import Store


def fill(store: Store, seed: int, size: int) -> None:
    """Fill all systems, streamed: size 1 is a demo, 700 about a million time entries."""
    chance = random.Random(seed)  # noqa: S311 - made-up data, not a secret
    with store.writing():
        fill_crm(store, chance, size)
        fill_psa(store, chance, size)
        fill_erp(store, chance, size)
