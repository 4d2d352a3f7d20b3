"""Seeded Kantata: people, client groups, projects with tasks and seats, rates, six weeks of time, expenses, invoices."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from connectors.sandbox.kantata.things import base_unit
from connectors.sandbox.seed.crm import client, client_of
from connectors.sandbox.seed.words import DAY, FIRST, LAST, ROLES, SKILLS, WORK, weekdays
from connectors.sandbox.store import Doc, Store

PEOPLE, PROJECTS, EXPENSES, INVOICES = 25, 15, 60, 6
ENTRIES_A_DAY = 2
CATEGORIES = ("Travel", "Meals", "Lodging", "Mileage")
CLOSED, ARCHIVED, NO_GROUP_ROW, NO_GROUP = (3, 8), 12, 6, (5, 6)
NO_CONTRACT, NO_ENTITY, LOST_CONTRACT = 11, 13, 14
RATES = (9550, 12500, 18033)
BOOKED = (1, 2, 4, 9, 15)
"""Projects that all is right with: nearly all time is theirs."""
UNPRICED = ("USD", 5)
AHEAD, GIVEN = 10, 2
"""The project that has next year's rate card already; the one with a phase that is over, and work that is not billed."""
BOOKED_WRONG = {31: "25", 33: "26"}
"""Entries of the latest day on stories of that project: one of the phase that is over, one of the contract line that is not billed."""
STRAY = 2
"""Entries of each other project of a set, which tell what is wrong with it."""
TEMPLATES = {
    "Fixed fee": (("Discovery", "task"), ("Build", "task"), ("Accepted", "milestone")),
    "Time and materials": (("Work", "task"), ("Advice", "task")),
    "Milestones": (("Design", "task"), ("Design agreed", "milestone"), ("Build", "task"), ("Live", "milestone")),
    "Managed service": (("Service desk", "task"), ("Reporting", "task")),
}
"""Names of project templates with the stories of each."""
CARDS = ("GBP", "EUR", "USD", "JPY", "KWD", "CHF", "NOK", "AUD")


def fill_psa(store: Store, chance: random.Random, size: int) -> None:
    """Write all of Kantata."""

    def put(plural: str, rows: Iterator[Doc]) -> None:
        store.put_many("kantata", plural, ((row["id"], row) for row in rows))

    put("roles", (_row(n, "2026-09-01", name=name) for n, name in enumerate(ROLES, 1)))
    put("skills", (_row(n, "2026-09-01", name=name, skill_type="level") for n, name in enumerate(SKILLS, 1)))
    put("vendors", (_row(n, "2026-09-01", name=f"Vendor {n}", vendor_type="company") for n in range(1, 5)))
    put("expense_categories", (_row(n, "2026-09-01", name=name) for n, name in enumerate(CATEGORIES, 1)))
    put("custom_fields", _custom_fields())
    put("project_templates", _templates())
    put("users", _people(chance, size))
    put("account_memberships", _memberships(size))
    put(
        "time_off_entries",
        (_row(n, "2026-11-02", user_id=str(n), requested_date=f"2026-12-{20 + n}", hours=8) for n in range(1, 9)),
    )
    put("workspace_groups", _groups(size))
    put("workspaces", _projects(chance, size))
    put("custom_field_values", _custom_values(size))
    put("stories", _stories(size))
    put("workspace_resources", _seats(size))
    put("workspace_allocations", _allocations(size))
    put("assignments", _assignments(size))
    put("billing_milestones", _milestones(size))
    _rates(put)
    put("time_entries", _time(chance, size))
    put("expenses", _expenses(chance, size))
    put("invoices", _invoices())
    put(
        "fixed_fee_items",
        iter([_row(1, "2026-11-10", invoice_id="1", title="Set-up", currency="GBP", amount_in_cents=120_000)]),
    )
    put("additional_items", (_row(n, "2026-11-10", invoice_id=str(n), title="Licences", currency="GBP", amount_in_cents=50_000 * n)
                             for n in range(1, INVOICES + 1)))  # fmt: skip


def _row(number: int, day: str, **fields: object) -> Doc:
    at = f"{day}T09:00:00+00:00"
    return {"id": str(number), **fields, "created_at": at, "updated_at": at}


def _custom_fields() -> Iterator[Doc]:
    yield _row(1, "2026-09-01", name="Legal entity", value_type="single", subject_type="Workspace",
               choices=[{"id": "11", "label": "UK"}, {"id": "12", "label": "DE"}, {"id": "13", "label": "US"}])  # fmt: skip
    yield _row(2, "2026-09-01", name="Cost centre", value_type="string", subject_type="Workspace")
    yield _row(3, "2026-09-01", name="Retention", value_type="currency", subject_type="Workspace")
    yield _row(4, "2026-09-01", name="Contract", value_type="string", subject_type="Workspace")
    yield _row(5, "2026-09-01", name="Credit status", value_type="string", subject_type="WorkspaceGroup")
    yield _row(6, "2026-09-01", name="Contract line", value_type="string", subject_type="Story")


def _templates() -> Iterator[Doc]:
    """One a way of billing: what a project of it begins with."""
    for number, (name, parts) in enumerate(TEMPLATES.items(), 1):
        stories = [
            {"title": title, "story_type": kind, "billable": kind == "task", "state": "not started"}
            for title, kind in parts
        ]
        yield _row(number, "2026-09-01", title=name, stories=stories)


def _custom_values(size: int) -> Iterator[Doc]:
    """Legal entity and contract of each project; some have none, one names a contract that nobody knows."""
    number = 0
    for project in range(1, PROJECTS * size + 1):
        contract = {NO_CONTRACT: None, LOST_CONTRACT: "C-404"}.get(project, f"{project:08d}")
        entity = None if project == NO_ENTITY else [str(11 + project % 3)]
        for field, value in (("1", entity), ("4", contract), ("2", f"CC-{project}" if project % 5 == 0 else None)):
            number += 1
            if value is not None:
                yield _row(number, "2026-10-06", subject_type="Workspace", subject_id=str(project), subject=f"Workspace {project}",
                           custom_field_id=field, value=value)  # fmt: skip
    yield _row(
        number + 1,
        "2026-10-06",
        subject_type="Story",
        subject_id=f"{GIVEN}6",
        subject=f"Story {GIVEN}6",
        custom_field_id="6",
        value="2",
    )


def _people(chance: random.Random, size: int) -> Iterator[Doc]:
    for number in range(1, PEOPLE * size + 1):
        yield _row(
            number, f"2026-10-{1 + number % 28:02d}", full_name=f"{FIRST[number % 15]} {LAST[(number * 5) % 13]}",
            email_address=f"consultant{number}@crosswalk.example" if number != 9 else None,
            headline=chance.choice(("Consultant", "Manager")), disabled=number == 24, generic=False,
            role_id=str(1 + number % len(ROLES)), skill_ids=[str(1 + number % len(SKILLS))],
        )  # fmt: skip


def _memberships(size: int) -> Iterator[Doc]:
    for number in range(1, PEOPLE * size + 1):
        yield _row(
            number, f"2026-10-{1 + number % 28:02d}", user_id=str(number), permission="administrator" if number == 1 else "collaborator",
            bill_rate_in_cents=RATES[number % 3], cost_rate_in_cents=5000 + 100 * (number % 40),
            default_role_id=str(1 + number % len(ROLES)), disabled_at="2026-11-01T09:00:00+00:00" if number == 24 else None,
        )  # fmt: skip


def _client(project: int, size: int) -> Doc:
    return client(client_of(project, size))


def _groups(size: int) -> Iterator[Doc]:
    for number in range(1, PROJECTS * size + 1):
        if number != NO_GROUP_ROW:
            account = _client(number, size)
            yield _row(number, f"2026-10-{1 + number % 28:02d}", name=account["Name"].strip(), company=True, email=None,
                       website=account["Website"], phone_number=account["Phone"], notes=None, workspace_ids=[str(number)])  # fmt: skip


def _currency(project: int, size: int) -> str:
    return str(_client(project, size)["CurrencyIsoCode"])


def _projects(chance: random.Random, size: int) -> Iterator[Doc]:
    for number in range(1, PROJECTS * size + 1):
        currency, key = _currency(number, size), "completed" if number in CLOSED else "active"
        yield _row(
            number, f"2026-10-{1 + number % 28:02d}", title=f"{_client(number, size)['Name'].strip()} — {WORK[number % 6]}",
            description=None, start_date="2026-09-01", due_date="2027-03-31" if number != 10 else None,
            status={"color": "green", "key": key, "message": key.title()}, currency=currency, currency_base_unit=base_unit(currency),
            price_in_cents=chance.randrange(10**6, 10**8), budgeted=True, archived=number == ARCHIVED, creator_role="maven",
            workspace_group_ids=[str(number)] if number not in NO_GROUP else [], primary_maven_id=str(1 + number % 20),
            rate_card_id=_card(currency, number),
        )  # fmt: skip


def _stories(size: int) -> Iterator[Doc]:
    for number in range(1, PROJECTS * size + 1):
        for part in range(1, 4):
            yield _row(
                number * 10 + part, f"2026-10-{1 + number % 28:02d}", title=WORK[part], story_type="task" if part < 3 else "milestone",
                workspace_id=str(number), parent_id=None, state="started", start_date="2026-09-01", due_date="2027-03-31",
                percentage_complete=10 * part, time_estimate_in_minutes=4800 * part, billable=part != 3, archived=False,
                deleted_at=None, assignee_ids=[str(1 + number % PEOPLE)],
            )  # fmt: skip

    more: tuple[tuple[int, str, str, str | None], ...] = (
        (4, "Design phase", "completed", None), (5, "Design", "started", f"{GIVEN}4"), (6, "Favour", "started", None),
    )  # fmt: skip
    for part, title, state, parent in more:
        yield _row(
            GIVEN * 10 + part, "2026-10-03", title=title, story_type="task", workspace_id=str(GIVEN), parent_id=parent, state=state,
            start_date="2026-09-01", due_date="2027-03-31", percentage_complete=50, time_estimate_in_minutes=4800, billable=True,
            archived=False, deleted_at=None, assignee_ids=[],
        )  # fmt: skip


def _seats(size: int) -> Iterator[Doc]:
    for number in range(1, PROJECTS * size * 2 + 1):
        project = 1 + (number - 1) // 2
        user = str(1 + project % PEOPLE) if number % 2 else None  # every second seat has no name yet
        yield _row(
            number,
            "2026-10-05",
            workspace_id=str(project),
            user_id=user,
            role_id=str(1 + number % len(ROLES)),
            label=None,
        )


def _allocations(size: int) -> Iterator[Doc]:
    for number in range(1, PROJECTS * size + 1):
        yield _row(number, "2026-10-05", resource_id=str(number * 2 - 1), workspace_id=str(number), start_date="2026-09-01",
                   end_date="2026-12-31", minutes=9600, percentage=50, hard=number % 2 == 0)  # fmt: skip


def _assignments(size: int) -> Iterator[Doc]:
    for number in range(1, PROJECTS * size + 1):
        yield _row(number, "2026-10-05", story_id=str(number * 10 + 1), assignee_id=str(1 + number % PEOPLE), estimated_minutes=4800,
                   allocated_minutes=2400, current=True)  # fmt: skip


def _milestones(size: int) -> Iterator[Doc]:
    for number in range(1, PROJECTS * size + 1):
        currency = _currency(number, size)
        yield _row(number, "2026-10-05", workspace_id=str(number), title="Kick-off", date_to_invoice="2026-11-30", amount_in_cents=250_000,
                   currency=currency, currency_base_unit=base_unit(currency), billing_type="milestone", invoice_ids=[])  # fmt: skip


def _card(currency: str, project: int) -> str:
    """The card of this year in a currency; one project has next year's."""
    if project == AHEAD:
        return str(2 * len(CARDS) + 1)
    return str(2 * CARDS.index(currency) + 2)


def _price(role: int, currency: str) -> int:
    """What an hour of a role costs, in the currency's smallest unit."""
    return RATES[role % 3] * base_unit(currency) // 100 * (100 if currency == "JPY" else 1)


def _rates(put: object) -> None:
    assert callable(put)
    put("rate_card_sets", iter([_row(1, "2026-01-01", title="Standard")]))
    put(
        "rate_card_set_versions",
        (_row(n, "2026-01-01", rate_card_set_id="1", effective_date=f"202{4 + n}-01-01") for n in (1, 2, 3)),
    )
    cards = [(n, money) for n, money in enumerate((one for one in CARDS for _ in range(2)), 1)]
    following = 2 * len(CARDS) + 1  # the dollar card of next year
    put(
        "rate_cards",
        (_row(n, "2026-01-01", rate_card_set_version_id=str(2 - n % 2) if n != following else "3", currency=money)
         for n, money in [*cards, (following, "USD")]),
    )  # fmt: skip
    cards = [*cards, (following, "USD")]
    # the card of last year has lower prices; nobody agreed a price for analysts in dollars
    put("rate_card_roles", (_row(number, "2026-01-01", rate_card_id=str(card), role_id=str(role),
                                 rate_in_cents=_price(role, money) - (500 if card % 2 and card != following else 0))
                            for number, (card, money, role) in enumerate(
                                ((card, money, role) for card, money in cards for role in range(1, len(ROLES) + 1)
                                 if (money, role) != UNPRICED), 1)))  # fmt: skip


def _time(chance: random.Random, size: int) -> Iterator[Doc]:
    """Everybody's days: about 1,500 entries for size 1."""
    number, people = 0, PEOPLE * size
    for day in weekdays():
        for person in range(1, people + 1):
            for _ in range(ENTRIES_A_DAY):
                number += 1
                yield _entry(number, day, person, _booked(number, chance, size), chance, size)


def _booked(number: int, chance: random.Random, size: int) -> int:
    """The project of an entry: a sound one, but for a few at the start of the latest week of each that is not."""
    block, place = PROJECTS * chance.randrange(size), number - 50
    others = [one for one in range(1, PROJECTS + 1) if one not in BOOKED]
    if number in BOOKED_WRONG:
        chance.choice(BOOKED)  # everything else stays as it is
        return GIVEN
    if 0 <= place < STRAY * len(others):
        return others[place % len(others)]
    return block + chance.choice(BOOKED)


def _entry(number: int, day: date, person: int, project: int, chance: random.Random, size: int) -> Doc:
    late = (datetime(2026, 11, 1, tzinfo=UTC) + timedelta(seconds=number * 37 % 1_600_000)).isoformat()
    stray = project not in BOOKED and project <= PROJECTS
    currency, approved = _currency(project, size), number % 4 != 0 or stray
    invoiced = approved and number % 97 == 0 and number <= 97 * INVOICES
    role, billable = 1 + person % len(ROLES), number % 7 != 0 or stray
    role = role - 1 if (currency, role) == UNPRICED else role
    row: Doc = {
        "id": str(number), "workspace_id": str(project), "story_id": str(project * 10 + 1 + number % 2), "user_id": str(person),
        "role_id": str(role), "date_performed": day.isoformat(), "time_in_minutes": chance.choice((30, 90, 240, 450, 475, 1)),
        "billable": billable, "notes": f"{chance.choice(WORK)} work", "rate_in_cents": _price(role, currency), "cost_rate_in_cents": None,
        "currency": currency, "currency_base_unit": base_unit(currency), "approved": approved, "taxable": False, "is_invoiced": invoiced,
        "invoice_id": str(number // 97) if invoiced else None, "active_submission_id": None, "created_at": late, "updated_at": late,
    }  # fmt: skip
    dirt: dict[int, Doc] = {39: {"date_performed": "2026-08-31"}, 41: {"time_in_minutes": 1530}, 42: {"notes": "x" * 3000}, 43: {"notes": ""},
                            45: {"story_id": None}, 46: {"notes": "Café ☕ — déjà vu"}, 47: {"rate_in_cents": 9000},
                            38: {"workspace_id": "1", "story_id": "11", "currency": "USD", "role_id": "5"}}  # fmt: skip
    if number in BOOKED_WRONG:
        row["story_id"] = BOOKED_WRONG[number]
    return {**row, **dirt.get(number, {})}


def _expenses(chance: random.Random, size: int) -> Iterator[Doc]:
    for number in range(1, EXPENSES * size + 1):
        project = (
            1 + number % PROJECTS if number <= PROJECTS else BOOKED[number % len(BOOKED)] + PROJECTS * (number % size)
        )
        category = chance.randrange(len(CATEGORIES))
        day, currency = f"2026-11-{1 + number % 19:02d}", _currency(project, size)
        yield _row(
            number, day, workspace_id=str(project), user_id=str(1 + number % PEOPLE), date=day, category=CATEGORIES[category],
            expense_category_id=str(1 + category), notes=None, currency=currency, currency_base_unit=base_unit(currency),
            amount_in_cents=chance.randrange(500, 90_000) if number != 7 else -1200, is_billable=number % 3 != 0, reimbursable=True,
            taxable=False, approved=number % 5 != 0, is_invoiced=False, vendor_id=str(1 + number % 4) if number % 9 == 0 else None,
        )  # fmt: skip


def _invoices() -> Iterator[Doc]:
    for number in range(1, INVOICES + 1):
        entry = number * 97
        lines = [str(entry)] if entry % 4 else []
        yield _row(
            number, f"2026-11-{9 + number:02d}", title=f"Services {number}", user_invoice_number=str(1000 + number), payment_schedule=30,
            invoice_date=f"2026-11-{9 + number:02d}", due_date=(DAY + timedelta(days=number)).isoformat(), draft=number == 6,
            status="new" if number == 6 else "issued", currency="GBP", currency_base_unit=100, balance_in_cents=50_000 * number,
            total_in_cents=50_000 * number, workspace_ids=["9"], time_entry_ids=lines, expense_ids=[], additional_item_ids=[str(number)],
            fixed_fee_item_ids=[], billing_milestone_ids=[], recipient_id=None, purchase_order=f"PO-{number}" if number % 2 else "",
        )  # fmt: skip
