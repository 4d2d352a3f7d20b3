"""Word lists and calendar that the seed draws from."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

DAY = date(2026, 11, 20)
"""The day that the data is told on."""
WEEKS = 6
FIRMS = (
    "Harbour", "Juniper", "Quartz", "Saffron", "Lantern", "Meridian", "Copper", "Willow", "Falcon", "Ember", "Cobalt", "Heron",
)  # fmt: skip
KINDS = ("Logistics", "Foods", "Energy", "Textiles", "Robotics", "Insurance", "Media", "Biotech", "Rail", "Paper")
PLACES = (
    ("United Kingdom", "London", "GBP", "EMEA"), ("Germany", "Hamburg", "EUR", "EMEA"), ("France", "Lyon", "EUR", "EMEA"),
    ("United States", "Denver", "USD", "AMER"), ("Japan", "Osaka", "JPY", "APAC"), ("Kuwait", "Kuwait City", "KWD", "EMEA"),
    ("Switzerland", "Basel", "CHF", "EMEA"), ("Norway", "Bergen", "NOK", "EMEA"), ("Australia", "Perth", "AUD", "APAC"),
)  # fmt: skip
FIRST = (
    "Aiko", "Bruno", "Chloé", "Dmitri", "Esra", "Farid", "Greta", "Hanna", "Ivo", "Jun", "Kofi", "Lena", "Maya", "Nils", "Olga",
)  # fmt: skip
LAST = (
    "Abara", "Berg", "Costa", "Dahl", "Eto", "Fischer", "García", "Haddad", "Ito", "Jansen", "Keller", "Lindqvist", "Moreau",
)  # fmt: skip
WORK = ("Discovery", "Build", "Rollout", "Support", "Audit", "Migration")
ROLES = ("Consultant", "Senior Consultant", "Manager", "Architect", "Analyst")
SKILLS = ("Finance", "Data", "Change", "Cloud", "Tax")


def weekdays() -> Iterator[date]:
    """Working days of the last weeks, the latest first."""
    for back in range(WEEKS * 7):
        day = DAY - timedelta(days=back)
        if day.weekday() < 5:
            yield day


def moment(minutes: int) -> str:
    """So many minutes into the month, as Salesforce writes instants."""
    return (datetime(2026, 11, 1, 8, tzinfo=UTC) + timedelta(minutes=minutes % 27_000)).strftime(
        "%Y-%m-%dT%H:%M:%S.000+0000"
    )


def sf_id(prefix: str, number: int) -> str:
    """An id of Salesforce, 18 characters."""
    return f"{prefix}{number:012d}AAA"
