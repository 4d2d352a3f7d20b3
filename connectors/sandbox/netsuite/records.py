"""Records of NetSuite: made, merged, upserted and deleted, with the rules of periods, subsidiaries, totals and balances."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from connectors.sandbox.netsuite.errors import Fault, missing, parameter, refused
from connectors.sandbox.netsuite.kinds import KINDS, SYSTEM, Kind
from connectors.sandbox.netsuite.values import Shown, Values
from connectors.sandbox.server import Reply, Request
from connectors.sandbox.store import Doc, Store

FIRST_ID = 5000
_EXTERNAL = re.compile(r"[\w-]+")


class Records:
    """Writes to one store."""

    def __init__(self, store: Store, shown: Shown) -> None:
        self.store, self.shown = store, shown

    def kind(self, name: str) -> Kind:
        kind = KINDS.get(name) or next((one for one in KINDS.values() if one.name.lower() == name.lower()), None)
        if kind is None:
            raise Fault(404, "NONEXISTENT_ID", f"Record type '{name}' does not exist or is not available to the role")
        return kind

    def found(self, kind: str, id: str) -> Doc:
        """A record by id or `eid:`. Raises Fault 404."""
        doc = self.external(kind, id[4:]) if id.startswith("eid:") else self.store.get(SYSTEM, kind, id)
        if doc is None:
            raise missing(id)
        return doc

    def external(self, kind: str, value: str) -> Doc | None:
        """A record by its external id."""
        return next(
            (one for one in self.store.keyed(SYSTEM, kind, "externalId", value) if one["externalId"] == value), None
        )

    def located(self, kind: str, id: str) -> Reply:
        """What a write answers: nothing but where the record is."""
        return Reply(204, None, {"Location": self.shown.href(kind, id)})

    # ------------------------------------------------------------------ writes
    def create(self, request: Request, kind: Kind, body: Doc, external: str | None = None) -> Reply:
        with self.store.writing():
            values = Values(self.store, request.headers).checked(kind, body)
            external = external or values.get("externalId")
            if external and self.external(kind.name, external):
                raise Fault(
                    400,
                    "DUP_RCRD",
                    f"This record already exists. A record with external id {external} is there already",
                    "externalId",
                )
            return self.located(
                kind.name, self.make(kind, {**values, **({"externalId": external} if external else {})})
            )

    def make(self, kind: Kind, values: Doc) -> str:
        """A new record of checked values; its id. Raises Fault USER_ERROR."""
        needed = [
            *kind.required,
            *([] if kind.name != "customer" else ["lastName" if values.get("isPerson") else "companyName"]),
        ]
        lacking = [name for name in needed if values.get(name) in (None, "", {})]
        if lacking:
            raise refused(f"Please enter value(s) for: {', '.join(lacking)}", lacking[0])
        id = str(self.store.next_id(f"netsuite {kind.name}", FIRST_ID))
        doc: Doc = {"id": id, "createdDate": self._stamp(), **values}
        if kind.entity:
            doc.setdefault("entityId", f"{kind.name[:3].upper()}{id}")
            doc.setdefault("isInactive", False)
        elif kind.code:
            doc.setdefault("tranId", f"{kind.code[:3].upper()}{id}")
        self._rules(kind, doc, values, None)
        self.save(kind.name, self._totalled(kind, doc, values))
        self.store.note(SYSTEM, kind.name, "create", id, values)
        self._applied(kind, doc, None)
        return id

    def update(self, request: Request, kind: Kind, doc: Doc, body: Doc) -> Reply:
        """A merge: sublists by `line`, whole with `?replace=`."""
        with self.store.writing():
            doc = self.found(kind.name, doc["id"])
            values = Values(self.store, request.headers).checked(kind, body)
            replaced = set(request.query.get("replace", "").split(","))
            if request.query.get("replaceSelectedFields") == "true":
                replaced |= set(values)
            merged = {
                name: value if name in replaced else merge(doc.get(name), value) for name, value in values.items()
            }
            lacking = [name for name in kind.required if name in merged and merged[name] in (None, "", {})]
            if lacking:
                raise refused(f"Please enter value(s) for: {', '.join(lacking)}", lacking[0])
            after = {**doc, **merged}
            self._rules(kind, after, values, doc)
            self.save(kind.name, self._totalled(kind, after, values))
            self.store.note(SYSTEM, kind.name, "update", doc["id"], values)
            self._applied(kind, after, doc)
        return self.located(kind.name, doc["id"])

    def upsert(self, request: Request, kind: Kind, external: str, body: Doc) -> Reply:
        """By external id; the answer does not tell whether it made one."""
        if not _EXTERNAL.fullmatch(external):
            raise parameter("The external id may hold letters, digits, underscores and hyphens")
        with self.store.writing():
            doc = self.external(kind.name, external)
            return self.create(request, kind, body, external) if doc is None else self.update(request, kind, doc, body)

    def delete(self, kind: Kind, id: str) -> Reply:
        with self.store.writing():
            doc = self.found(kind.name, id)
            self._open_period(kind, doc)
            self._applied(kind, {"apply": {"items": []}}, doc)
            self.store.put(SYSTEM, kind.name, doc["id"], {**doc, "lastModifiedDate": self._stamp()}, deleted=True)
            number = str(self.store.next_id("netsuite deletedrecord", 1))
            self.store.put(SYSTEM, "deletedrecord", number, {"id": number, "recordId": doc["id"], "recordTypeId": kind.name.lower(),
                           "deletedDate": self._stamp(), "lastModifiedDate": self._stamp()})  # fmt: skip
            self.store.note(SYSTEM, kind.name, "delete", doc["id"], {})
        return Reply(204)

    def save(self, kind: str, doc: Doc) -> None:
        self.store.put(SYSTEM, kind, doc["id"], {**doc, "lastModifiedDate": self._stamp()})

    def _stamp(self) -> str:
        return self.store.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")

    # ------------------------------------------------------------------ rules
    def _rules(self, kind: Kind, doc: Doc, values: Doc, before: Doc | None) -> None:
        """Business rules over a record as it would be. Raises Fault USER_ERROR."""
        if (
            before is not None
            and kind.entity
            and "subsidiary" in values
            and before.get("subsidiary") != doc.get("subsidiary")
        ):
            raise refused("The subsidiary of an entity cannot be changed", "subsidiary")
        if "entityId" in values:
            same = [
                one
                for one in self.store.keyed(SYSTEM, kind.name, "entityId", values["entityId"])
                if one["id"] != doc["id"]
            ]
            if same:
                raise Fault(400, "UNIQUE_CUST_ID_REQD", f"A {kind.name} record with this ID already exists. You must enter a unique ID for "
                            "each record you create", "entityId")  # fmt: skip
        self._open_period(kind, doc)
        if before is not None and before.get("tranDate") != doc.get("tranDate"):
            self._open_period(kind, before)
        if kind.name == "journalEntry":
            lines = (doc.get("line") or {}).get("items", [])
            debit, credit = (
                sum((Decimal(one.get(side) or 0) for one in lines), Decimal(0)) for side in ("debit", "credit")
            )
            if not lines or debit != credit:
                raise refused(f"The amounts in the transaction must balance: debits {debit}, credits {credit}", "line")
        lined = kind.name in ("invoice", "creditMemo", "salesOrder", "purchaseOrder", "vendorBill")
        if (
            before is None
            and lined
            and not any((doc.get(one) or {}).get("items") for one in ("item", "expense", "time", "expCost"))
        ):
            raise refused("You must enter at least one line item for this transaction", "item")

    def _open_period(self, kind: Kind, doc: Doc) -> None:
        day = doc.get("tranDate")
        if not kind.posts or not day:
            return
        periods = self.store.all(SYSTEM, "accountingPeriod")
        holding = [one for one in periods if one["startDate"] <= day <= one["endDate"]]
        named = (doc.get("postingPeriod") or {}).get("id")
        if named:
            holding = [one for one in periods if one["id"] == named]
        before_all = bool(periods) and day < min(one["startDate"] for one in periods)
        if before_all or any(one.get("closed") for one in holding):
            raise refused("You cannot create or change a transaction in a closed accounting period", "tranDate")

    def _totalled(self, kind: Kind, doc: Doc, values: Doc) -> Doc:
        """Line numbers, amounts and totals that NetSuite computes."""
        for name in ("item", "expense", "line", "apply", "assignee", "addressBook", "time", "expCost"):
            if name in doc and kind.type_of(name) == "lines" and doc[name]:
                doc[name] = {
                    "items": [
                        {**self._taxed(doc, _priced(one)), "line": n} for n, one in enumerate(doc[name]["items"], 1)
                    ]
                }
        sums = [Decimal(one.get("amount") or 0) for name in ("item", "expense", "time", "expCost")
                for one in (doc.get(name) or {}).get("items", []) if kind.type_of(name) == "lines"]  # fmt: skip
        if sums and kind.code and kind.code not in ("CustPymt", "Journal"):
            doc["total"] = sum(sums, Decimal(0))
        if sums and "subtotal" in kind.fields:
            taxes = [Decimal(one.get("tax1Amt") or 0) for one in (doc.get("item") or {}).get("items", [])]
            doc["subtotal"], doc["taxTotal"] = sum(sums, Decimal(0)), sum(taxes, Decimal(0))
            doc["total"] = doc["subtotal"] + doc["taxTotal"]
        if kind.name in ("invoice", "creditMemo", "vendorBill"):
            paid = Decimal(doc.get("amountPaid") or 0)
            doc["amountRemaining"] = Decimal(doc.get("total") or 0) - paid
            doc["status"] = {"id": "paidInFull" if doc["amountRemaining"] == 0 else "open"}
        if kind.name == "customerPayment":
            doc["total"] = doc["payment"]
        return doc

    def _taxed(self, doc: Doc, line: Doc) -> Doc:
        """The tax of a line by its code, to the currency's precision, half up; what was given stays."""
        code = self.store.get(SYSTEM, "salesTaxItem", (line.get("taxCode") or {}).get("id", ""))
        if code is None or line.get("tax1Amt") is not None or line.get("amount") is None:
            return line
        currency = self.store.get(SYSTEM, "currency", (doc.get("currency") or {}).get("id", "")) or {}
        unit = Decimal(1).scaleb(-int(currency.get("currencyPrecision", 2)))
        tax = Decimal(line["amount"]) * Decimal(code.get("rate") or 0) / 100
        return {**line, "tax1Amt": tax.quantize(unit, ROUND_HALF_UP)}

    def _applied(self, kind: Kind, after: Doc, before: Doc | None) -> None:
        """What payments and credits pay off moves the invoices that they name."""
        if kind.name not in ("customerPayment", "creditMemo"):
            return
        moves: dict[str, Decimal] = {}
        for doc, sign in ((after, 1), (before or {}, -1)):
            for one in (doc.get("apply") or {}).get("items", []):
                if one.get("apply", True) and one.get("doc"):
                    moves[one["doc"]["id"]] = moves.get(one["doc"]["id"], Decimal(0)) + sign * Decimal(
                        one.get("amount") or 0
                    )
        if kind.name == "customerPayment" and after.get("payment") is not None:
            applied = sum(
                (Decimal(one.get("amount") or 0) for one in (after.get("apply") or {}).get("items", [])), Decimal(0)
            )
            if applied > Decimal(after["payment"]):
                raise refused("The amounts applied are more than the payment", "apply")
        for id, amount in moves.items():
            invoice = self.store.get(SYSTEM, "invoice", id)
            if invoice is None or amount == 0:
                continue
            paid = Decimal(invoice.get("amountPaid") or 0) + amount
            if not 0 <= paid <= Decimal(invoice["total"]):
                raise refused(f"The amount applied to invoice {invoice['tranId']} is more than is open", "apply")
            self.save("invoice", self._totalled(KINDS["invoice"], {**invoice, "amountPaid": paid}, {}))

    # ------------------------------------------------------------------ transforms
    def transform(self, request: Request, kind: Kind, id: str, target: Kind, body: Doc) -> Reply:
        """A record made of another one: an order's invoice, an invoice's payment."""
        with self.store.writing():
            source = self.found(kind.name, id)
            kept = ("entity", "subsidiary", "currency", "job", "item", "terms", "otherRefNum")
            if (kind.name, target.name) == ("salesOrder", "invoice"):
                start = {name: source[name] for name in kept if source.get(name) is not None}
            elif (kind.name, target.name) == ("invoice", "customerPayment"):
                left = source["amountRemaining"]
                start = {"customer": source["entity"], "subsidiary": source.get("subsidiary"), "currency": source.get("currency"),
                         "payment": left, "apply": {"items": [{"doc": {"id": source["id"]}, "apply": True, "amount": left}]}}  # fmt: skip
            else:
                raise parameter(f"{kind.name} cannot be transformed into {target.name}")
            values = Values(self.store, request.headers).checked(target, body)
            today = self.store.clock.now().date().isoformat()
            return self.located(target.name, self.make(target, {"tranDate": today, **start, **values}))


def _priced(line: Doc) -> Doc:
    if line.get("amount") is None and line.get("quantity") is not None and line.get("rate") is not None:
        return {**line, "amount": Decimal(line["quantity"]) * Decimal(line["rate"])}
    return line


def merge(before: Any, value: Any) -> Any:
    """A sublist merges by `line`; lines without a known one are added."""
    if not (
        isinstance(before, dict)
        and isinstance(before.get("items"), list)
        and isinstance(value, dict)
        and "items" in value
    ):
        return value
    lines = {one.get("line"): one for one in before["items"]}
    fresh = []
    for one in value["items"]:
        if one.get("line") is not None and one["line"] in lines:
            changed = {**lines[one["line"]], **one}
            if "amount" not in one and {"quantity", "rate"} & set(one):
                changed.pop("amount", None)
            lines[one["line"]] = changed
        else:
            fresh.append(one)
    return {"items": [*lines.values(), *fresh]}
