"""Tables of SuiteQL over records: names in lower case, references as ids, transactions with their lines in one place."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from connectors.sandbox.netsuite.kinds import KINDS, NAMES, SYSTEM, Kind, label
from connectors.sandbox.netsuite.tree import wrong
from connectors.sandbox.netsuite.values import hours
from connectors.sandbox.store import Doc, Store

TRANSACTIONS = tuple(kind for kind in KINDS.values() if kind.code)
ENTITIES = tuple(kind for kind in KINDS.values() if kind.entity)
LINES = ("item", "expense", "line")
ALSO = {"id", "externalid", "createddate", "lastmodifieddate"}
_VIEWS = {
    "transaction": {"type", "recordtype", "entity", "foreigntotal", "foreignamountunpaid", "total", "abbrevtype"},
    "transactionline": {"id", "transaction", "linesequencenumber", "mainline", "taxline", "item", "quantity", "rate", "netamount",
                        "foreignamount", "memo", "entity", "department", "class", "location", "subsidiary", "linelastmodifieddate"},
    "transactionaccountingline": {"transaction", "transactionline", "account", "debit", "credit", "amount", "posting"},
    "entity": {"type", "entityid", "email", "phone", "isinactive", "entitytitle"},
    "item": {"itemid", "displayname", "isinactive", "itemtype"},
    "deletedrecord": {"recordid", "recordtypeid", "deleteddate"},
}  # fmt: skip


class Row(dict[str, Any]):
    """Values of one row; `kind` and `doc` are what display texts are made of."""

    def __init__(self, values: dict[str, Any], kind: Kind | None = None, doc: Doc | None = None) -> None:
        super().__init__(values)
        self.kind, self.doc = kind, doc or {}


class Tables:
    """Tables of one store. zone: the account's time zone. by_record: transactions are tables of their own, too."""

    def __init__(self, store: Store) -> None:
        self.store, self.zone, self.by_record = store, ZoneInfo("UTC"), False

    def columns(self, table: str) -> set[str]:
        """Names that a table has. Raises Fault for a table that is not there."""
        if table in _VIEWS:
            kinds = {"transaction": TRANSACTIONS, "entity": ENTITIES}.get(table, ())
            return (
                _VIEWS[table]
                | ALSO
                | {name.lower() for kind in kinds for name, one in kind.fields.items() if one != "lines"}
            )
        kind = self.kind(table)
        totals = {"foreigntotal", "foreignamountunpaid"} if kind.code else set()
        return ALSO | totals | {name.lower() for name, one in kind.fields.items() if one != "lines"}

    def kind(self, table: str) -> Kind:
        """The record type that is a table."""
        name = NAMES.get(table)
        if name is None or (KINDS[name].code and not self.by_record):
            raise wrong(f"Search error occurred: Record '{table}' was not found.")
        return KINDS[name]

    def rows(self, table: str, ids: list[str] | None = None, since: str | None = None) -> Iterator[Row]:
        """Rows; only these ids or those changed since, where a query says so (others may come too)."""
        if table == "deletedrecord":
            for doc in self.store.scan(SYSTEM, "deletedrecord"):
                yield Row({"id": doc["id"], "recordid": doc["recordId"], "recordtypeid": doc["recordTypeId"],
                           "deleteddate": self._moment(doc["deletedDate"]), "lastmodifieddate": self._moment(doc["deletedDate"])})  # fmt: skip
        elif table == "transactionline":
            for kind in TRANSACTIONS:
                for doc in self._docs(kind, None, None):
                    yield from self._lines(kind, doc)
        elif table == "transactionaccountingline":
            for kind in TRANSACTIONS:
                for doc in self._docs(kind, None, None):
                    yield from self._postings(kind, doc)
        else:
            kinds = {"transaction": TRANSACTIONS, "entity": ENTITIES, "item": (KINDS["serviceSaleItem"],)}.get(table)
            for kind in kinds or (self.kind(table),):
                for doc in self._docs(kind, ids, since):
                    more = (
                        {"type": kind.code or kind.name, "recordtype": kind.name.lower(), "itemtype": "Service"}
                        if kinds
                        else {}
                    )
                    yield Row({**self._flat(kind, doc), **more}, kind, doc)

    def _docs(self, kind: Kind, ids: list[str] | None, since: str | None) -> Iterator[Doc]:
        if ids is not None:
            yield from self.store.many(SYSTEM, kind.name, ids)
        else:
            yield from self.store.scan(SYSTEM, kind.name, since=since)

    # ------------------------------------------------------------------ shapes
    def _flat(self, kind: Kind, doc: Doc) -> dict[str, Any]:
        row: dict[str, Any] = {"id": doc["id"], "externalid": doc.get("externalId")}
        for name, value in doc.items():
            type_of = kind.type_of(name)
            if type_of in (None, "lines"):
                continue
            row[name.lower()] = self._plain(str(type_of), value)
        if kind.code:
            row["foreigntotal"] = doc.get("total")
            row["foreignamountunpaid"] = doc.get("amountRemaining")
            if kind.name == "customerPayment":
                row["entity"] = (doc.get("customer") or {}).get("id")
        return row

    def _plain(self, kind: str, value: Any) -> Any:
        if value is None or value == "":
            return None
        if isinstance(value, dict):
            return value.get("id")
        if isinstance(value, bool):
            return "T" if value else "F"
        if kind == "date":
            return date.fromisoformat(value)
        if kind == "datetime":
            return self._moment(value)
        return hours(value) if kind == "duration" else value

    def _moment(self, text: str) -> datetime:
        """An instant as the account's wall clock."""
        return (
            datetime.fromisoformat(text.replace("Z", "+00:00"))
            .astimezone(self.zone)
            .replace(tzinfo=None, microsecond=0)
        )

    def _lines(self, kind: Kind, doc: Doc) -> Iterator[Row]:
        at = self._moment(doc["lastModifiedDate"])
        party = (doc.get("entity") or doc.get("customer") or {}).get("id")
        shared = {"transaction": doc["id"], "linelastmodifieddate": at, "lastmodifieddate": at, "taxline": "F",
                  "subsidiary": (doc.get("subsidiary") or {}).get("id"), "entity": party}  # fmt: skip
        total = doc.get("total")
        yield Row(
            {
                **shared,
                "id": "0",
                "linesequencenumber": Decimal(0),
                "mainline": "T",
                "netamount": total,
                "foreignamount": total,
            }
        )
        for name in LINES:
            for number, one in enumerate((doc.get(name) or {}).get("items", []), 1):
                amount = one.get("amount", one.get("debit", one.get("credit")))
                references = {
                    field: (one.get(field) or {}).get("id") for field in ("item", "department", "class", "location")
                }
                yield Row({**shared, **references, "id": str(number), "linesequencenumber": Decimal(number), "mainline": "F",
                           "quantity": one.get("quantity"), "rate": one.get("rate"), "netamount": amount, "foreignamount": amount,
                           "memo": one.get("description", one.get("memo"))}, kind)  # fmt: skip

    def _postings(self, kind: Kind, doc: Doc) -> Iterator[Row]:
        for number, one in enumerate((doc.get("line") or {}).get("items", []), 1):
            debit, credit = one.get("debit"), one.get("credit")
            yield Row({"transaction": doc["id"], "transactionline": str(number), "account": one["account"]["id"], "debit": debit,
                       "credit": credit, "amount": Decimal(debit or 0) - Decimal(credit or 0), "posting": "T"}, kind)  # fmt: skip

    def display(self, row: Row, name: str) -> Any:
        """BUILTIN.DF: the text of what a column refers to."""
        if row.kind is None:
            return row.get(name)
        field = next((one for one in row.kind.fields if one.lower() == name), name)
        kind, id = row.kind.type_of(field) or "", row.get(name)
        if not kind.startswith("ref:"):
            kind = {"item": "ref:serviceSaleItem", "entity": "ref:customer|vendor|employee"}.get(name, "")
        for target in kind[4:].split("|") if kind and id else ():
            doc = self.store.get(SYSTEM, target, str(id))
            if doc is not None:
                return label(target, doc)
        return id
