"""Record types: fields with their types, what is required, transaction codes, sublists. Names as the record API has them."""

from __future__ import annotations

from dataclasses import dataclass

from connectors.sandbox.store import Shape

SYSTEM = "netsuite"
_ITEM_LINES = {"line": "number", "item": "ref:serviceSaleItem", "quantity": "number", "rate": "number", "amount": "number",
               "description": "text", "taxCode": "ref:salesTaxItem", "tax1Amt": "number", "customer": "ref:customer|job",
               "isBillable": "bool", "class": "ref:classification", "department": "ref:department",
               "location": "ref:location", "job": "ref:job"}  # fmt: skip
SUBLISTS: dict[str, dict[str, str]] = {
    "item": _ITEM_LINES,
    "expense": {"line": "number", "expenseDate": "date", "category": "enum", "amount": "number", "currency": "ref:currency",
                "foreignAmount": "number", "exchangeRate": "number", "customer": "ref:customer|job", "isBillable": "bool",
                "projectTask": "ref:projectTask", "memo": "text", "account": "ref:account", "department": "ref:department",
                "class": "ref:classification", "location": "ref:location"},
    "line": {"line": "number", "account": "ref:account", "debit": "number", "credit": "number", "entity": "ref:customer|vendor|employee",
             "memo": "text", "department": "ref:department", "class": "ref:classification", "location": "ref:location"},
    "apply": {"line": "number", "doc": "ref:invoice|vendorBill|journalEntry", "apply": "bool", "amount": "number"},
    "addressBook": {"line": "number", "addressBookAddress": "any", "label": "text", "defaultBilling": "bool", "defaultShipping": "bool"},
    "assignee": {"line": "number", "resource": "ref:employee", "units": "number", "unitCost": "number", "estimatedWork": "number"},
    "recurrence": {"postingPeriod": "ref:accountingPeriod", "recAmount": "number", "isRecognized": "bool", "recurDate": "date",
                   "defRevAccount": "ref:account", "incomeAccount": "ref:account", "journal": "text"},
    "time": {"line": "number", "doc": "ref:timeBill", "apply": "bool", "amount": "number"},
    "expCost": {"line": "number", "doc": "ref:expenseReport", "apply": "bool", "amount": "number"},
}  # fmt: skip
COMPUTED = frozenset({"id", "createdDate", "lastModifiedDate", "amountPaid", "links", "refName"})
"""Names that are taken without a word and change nothing."""


@dataclass(frozen=True)
class Kind:
    """A record type. fields: name → text number bool date datetime enum duration any ref:TYPE|TYPE lines. code: of transactions."""

    name: str
    fields: dict[str, str]
    required: tuple[str, ...] = ()
    code: str | None = None
    posts: bool = False
    entity: bool = False

    def type_of(self, name: str) -> str | None:
        """The type of a field; custom fields (`cust…`) are of any."""
        if name in ("externalId", "id"):
            return "text"
        if name in ("createdDate", "lastModifiedDate"):
            return "datetime"
        return self.fields.get(name) or (
            "any" if name.startswith("cust") and name not in ("customer", "customers") else None
        )


def _fields(text: str) -> dict[str, str]:
    """`name:type` apart by blanks; a name alone is text."""
    return {name: kind or "text" for name, _, kind in (one.partition(":") for one in text.split())}


_ORG = "subsidiary:ref:subsidiary currency:ref:currency"
_LINE = "department:ref:department class:ref:classification location:ref:location"
_TOTALS = "subtotal:number taxTotal:number total:number"
_SALE = f"tranId tranDate:date entity:ref:customer {_ORG} exchangeRate:number memo otherRefNum job:ref:job item:lines {_TOTALS} {_LINE}"
_BUY = f"tranId tranDate:date dueDate:date entity:ref:vendor {_ORG} exchangeRate:number memo item:lines expense:lines total:number {_LINE}"


def _kind(name: str, fields: str, required: str = "", **more: object) -> Kind:
    return Kind(name, _fields(fields), tuple(required.split()), **more)  # type: ignore[arg-type]


KINDS: dict[str, Kind] = {kind.name: kind for kind in (
    _kind("customer", f"entityId companyName isPerson:bool firstName lastName email phone url {_ORG} terms:ref:term parent:ref:customer "
          "isInactive:bool vatRegNumber creditLimit:number creditHoldOverride:enum "
          "entityStatus:enum addressBook:lines comments category:enum", "subsidiary", entity=True),
    _kind("contact", "entityId company:ref:customer|vendor firstName lastName email phone title subsidiary:ref:subsidiary isInactive:bool comments",
          "company", entity=True),
    _kind("job", f"entityId companyName parent:ref:customer startDate:date projectedEndDate:date calculatedEndDate:date {_ORG} "
          "jobBillingType:enum jobType:enum entityStatus:enum projectManager:ref:employee isInactive:bool comments",
          "companyName parent", entity=True),
    _kind("projectTask", "title company:ref:job startDate:date endDate:date estimatedWork:number status:enum parent:ref:projectTask "
          "isMilestone:bool assignee:lines", "title company"),
    _kind("employee", f"entityId firstName lastName email phone title supervisor:ref:employee {_ORG} department:ref:department "
          "location:ref:location class:ref:classification laborCost:number hireDate:date releaseDate:date isInactive:bool",
          "firstName lastName subsidiary", entity=True),
    _kind("timeBill", "employee:ref:employee customer:ref:customer|job caseTaskEvent:ref:projectTask tranDate:date hours:duration "
          "item:ref:serviceSaleItem isBillable:bool rate:number memo timeType:enum approvalStatus:enum timesheet:any "
          f"subsidiary:ref:subsidiary {_LINE}", "employee tranDate hours", posts=True),
    _kind("expenseReport", f"entity:ref:employee tranDate:date tranId expenseReportCurrency:ref:currency subsidiary:ref:subsidiary "
          f"expense:lines memo total:number status:enum postingPeriod:ref:accountingPeriod {_LINE}", "entity tranDate", code="ExpRept", posts=True),
    _kind("invoice", f"{_SALE} dueDate:date terms:ref:term postingPeriod:ref:accountingPeriod time:lines expCost:lines amountRemaining:number "
          "status:enum", "entity tranDate", code="CustInvc", posts=True),
    _kind("creditMemo", f"{_SALE} postingPeriod:ref:accountingPeriod apply:lines amountRemaining:number status:enum", "entity tranDate",
          code="CustCred", posts=True),
    _kind("customerPayment", f"tranId customer:ref:customer tranDate:date payment:number {_ORG} exchangeRate:number account:ref:account "
          "undepFunds:bool arAcct:ref:account apply:lines memo postingPeriod:ref:accountingPeriod status:enum total:number",
          "customer tranDate payment", code="CustPymt", posts=True),
    _kind("journalEntry", f"tranId tranDate:date {_ORG} exchangeRate:number approved:bool memo line:lines postingPeriod:ref:accountingPeriod "
          "reversalDate:date void:bool", "subsidiary tranDate", code="Journal", posts=True),
    _kind("opportunity", f"tranId tranDate:date entity:ref:customer {_ORG} title projectedTotal:number probability:number "
          "expectedCloseDate:date entityStatus:enum memo item:lines total:number exchangeRate:number", "entity", code="Opprtnty"),
    _kind("estimate", f"{_SALE} title status:enum expectedCloseDate:date dueDate:date opportunity:ref:opportunity", "entity tranDate",
          code="Estimate"),
    _kind("salesOrder", f"{_SALE} opportunity:ref:opportunity status:enum orderStatus:enum startDate:date endDate:date", "entity tranDate",
          code="SalesOrd"),
    _kind("purchaseOrder", f"{_BUY} status:enum employee:ref:employee job:ref:job", "entity tranDate", code="PurchOrd"),
    _kind("vendorBill", f"{_BUY} terms:ref:term postingPeriod:ref:accountingPeriod status:enum amountRemaining:number", "entity tranDate",
          code="VendBill", posts=True),
    _kind("vendor", f"entityId companyName isPerson:bool firstName lastName email phone url {_ORG} terms:ref:term vatRegNumber isInactive:bool "
          "addressBook:lines", "companyName subsidiary", entity=True),
    _kind("resourceAllocation", "allocationResource:ref:employee|vendor project:ref:job projectTask:ref:projectTask startDate:date "
          "endDate:date allocationAmount:number allocationUnit:enum allocationType:enum numberHours:number percentOfTime:number notes "
          "approvalStatus:enum", "allocationResource project startDate endDate allocationAmount allocationUnit"),
    _kind("revRecSchedule", "name scheduleNumber job:ref:job sourceTran:ref:salesOrder|invoice recurrenceType:enum amortizationType:enum "
          "status:enum totalAmount:number startDate:date endDate:date isRecognized:bool isInactive:bool recurrence:lines"),
    _kind("charge", "billTo:ref:customer|job chargeDate:date amount:number quantity:number rate:number currency:ref:currency "
          "chargeType:enum stage:enum memo timeRecord:ref:timeBill projectTask:ref:projectTask description use:enum "
          "billingItem:ref:serviceSaleItem salesOrder:ref:salesOrder salesOrderLine invoice:ref:invoice", "billTo chargeDate"),
    _kind("subsidiary", "name legalName country:enum currency:ref:currency parent:ref:subsidiary federalIdNumber fiscalCalendar:any "
          "isInactive:bool isElimination:bool", "name"),
    _kind("currency", "name symbol isInactive:bool exchangeRate:number currencyPrecision:number", "name symbol"),
    _kind("currencyRate", "baseCurrency:ref:currency transactionCurrency:ref:currency effectiveDate:date exchangeRate:number "
          "currencyRateType:any", "baseCurrency transactionCurrency effectiveDate exchangeRate"),
    _kind("expenseCategory", "name description expenseacct:ref:account isinactive:bool", "name"),
    _kind("department", "name subsidiary:ref:subsidiary parent:ref:department isInactive:bool", "name"),
    _kind("classification", "name subsidiary:ref:subsidiary parent:ref:classification isInactive:bool", "name"),
    _kind("location", "name subsidiary:ref:subsidiary parent:ref:location isInactive:bool", "name"),
    _kind("account", "acctNumber acctName acctType:enum currency:ref:currency isInactive:bool parent:ref:account", "acctName acctType"),
    _kind("accountingPeriod", "periodName startDate:date endDate:date closed:bool arLocked:bool apLocked:bool allLocked:bool isYear:bool "
          "isQuarter:bool isAdjust:bool", "periodName startDate endDate"),
    _kind("term", "name daysUntilNetDue:number isInactive:bool", "name"),
    _kind("salesTaxItem", "itemId description rate:number nexusCountry:enum effectiveFrom:date validUntil:date exempt:bool "
          "reverseCharge:bool isInactive:bool", "itemId"),
    _kind("serviceSaleItem", "itemId displayName rate:number incomeAccount:ref:account saleUnit:any isInactive:bool", "itemId"),
)}  # fmt: skip
NAMES = {name.lower(): name for name in KINDS}
SHAPE = Shape("lastModifiedDate", dict.fromkeys(KINDS, ("externalId", "entityId", "tranId")))
LABELS = ("companyName", "tranId", "entityId", "itemId", "periodName", "acctName", "title", "name", "lastName")


def label(kind: str, doc: dict[str, object]) -> str:
    """The display text of a record."""
    if kind == "employee":
        return f"{doc.get('firstName') or ''} {doc.get('lastName') or ''}".strip()
    order = (
        ("name", *LABELS)
        if kind in ("subsidiary", "currency", "department", "location", "term", "classification")
        else LABELS
    )
    return str(next((doc[name] for name in order if doc.get(name)), doc.get("id")))
