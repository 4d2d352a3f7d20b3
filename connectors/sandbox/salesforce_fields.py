"""What the fake Salesforce knows of its objects: fields, types, lengths, picklists, external ids."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any


@dataclass(frozen=True)
class Field:
    """One field. kind: id string textarea email phone url double currency percent boolean date datetime picklist reference."""

    name: str
    kind: str = "string"
    length: int = 255
    required: bool = False
    read_only: bool = False
    unique: bool = False
    external: bool = False
    values: tuple[str, ...] = ()
    to: str | None = None

    def described(self) -> dict[str, Any]:
        """As describe has it."""
        return {
            "name": self.name, "type": self.kind, "length": self.length, "nillable": not self.required,
            "createable": not self.read_only, "updateable": not self.read_only, "externalId": self.external,
            "idLookup": self.external, "unique": self.unique, "calculated": False,
            "referenceTo": [self.to] if self.to else [], "relationshipName": self.name.removesuffix("Id") if self.to else None,
            "picklistValues": [{"value": one, "active": True} for one in self.values], "precision": 18, "scale": 2,
        }  # fmt: skip

    def check(self, value: Any, fault: Any) -> Any:
        """The value if the field takes it; raises the fault that Salesforce gives."""
        if value is None:
            return None
        if self.kind in ("double", "currency", "percent"):
            if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
                raise fault(
                    "JSON_PARSER_ERROR",
                    f"Cannot deserialize instance of {self.kind} from {value!r}",
                    fields=[self.name],
                )
            return value
        if self.kind == "boolean":
            if not isinstance(value, bool):
                raise fault(
                    "JSON_PARSER_ERROR", f"Cannot deserialize instance of boolean from {value!r}", fields=[self.name]
                )
            return value
        if not isinstance(value, str):
            raise fault(
                "JSON_PARSER_ERROR", f"Cannot deserialize instance of {self.kind} from {value!r}", fields=[self.name]
            )
        if len(value) > self.length:
            raise fault(
                "STRING_TOO_LONG", f"{self.name}: data value too large: (max length={self.length})", fields=[self.name]
            )
        if self.kind == "date" and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
            raise fault("JSON_PARSER_ERROR", f"Cannot deserialize instance of date from {value!r}", fields=[self.name])
        if self.values and value not in self.values:
            raise fault("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", f"{self.name}: bad value for restricted picklist field: {value}",
                        fields=[self.name])  # fmt: skip
        return value


_SYSTEM = (
    Field("Id", "id", 18, read_only=True), Field("CreatedDate", "datetime", read_only=True),
    Field("LastModifiedDate", "datetime", read_only=True), Field("SystemModstamp", "datetime", read_only=True),
    Field("IsDeleted", "boolean", read_only=True), Field("Crosswalk_Id__c", "string", 64, unique=True, external=True),
    Field("CurrencyIsoCode", "picklist", 3), Field("OwnerId", "reference", 18, to="User"),
)  # fmt: skip
_STAGES = ("Prospecting", "Qualification", "Proposal", "Negotiation", "Closed Won", "Closed Lost")


def _object(*fields: Field) -> dict[str, Field]:
    return {one.name: one for one in (*_SYSTEM, *fields)}


OBJECTS: dict[str, dict[str, Field]] = {
    "Account": _object(
        Field("Name", required=True), Field("AccountNumber", length=40), Field("ParentId", "reference", 18, to="Account"),
        Field("BillingStreet", "textarea"), Field("BillingCity", length=40), Field("BillingState", length=80),
        Field("BillingPostalCode", length=20), Field("BillingCountry", length=80), Field("Industry", length=40),
        Field("Website", "url"), Field("Phone", "phone", 40), Field("ERP_Id__c", length=32, external=True),
        Field("Tax_Id__c", length=32), Field("Payment_Terms__c", length=40), Field("Region__c", length=40),
        Field("Status__c", "picklist", values=("Prospect", "Active", "On Hold", "Inactive")),
        Field("Credit_Limit__c", "currency"),
    ),
    "Contact": _object(
        Field("AccountId", "reference", 18, to="Account"), Field("FirstName", length=40), Field("LastName", length=80, required=True),
        Field("Email", "email", 80), Field("Phone", "phone", 40), Field("Title", length=128),
    ),
    "Opportunity": _object(
        Field("Name", length=120, required=True), Field("AccountId", "reference", 18, to="Account"),
        Field("StageName", "picklist", required=True, values=_STAGES), Field("Amount", "currency"),
        Field("CloseDate", "date", required=True), Field("Probability", "percent"), Field("IsWon", "boolean"),
        Field("IsClosed", "boolean"), Field("Billing_Method__c", length=40), Field("Legal_Entity__c", length=40),
        Field("Project_Code__c", length=40),
    ),
    "User": _object(
        Field("Username", length=80, required=True), Field("Name"), Field("Email", "email", 80), Field("IsActive", "boolean"),
        Field("EmployeeNumber", length=20),
    ),
    "Contract": _object(
        Field("AccountId", "reference", 18, to="Account", required=True), Field("StartDate", "date"), Field("EndDate", "date"),
        Field("ContractTerm", "double"), Field("Status", length=40), Field("ContractNumber", length=30),
    ),
    "Invoice__c": _object(
        Field("Name", length=80, required=True), Field("Number__c", length=40, unique=True, external=True),
        Field("Account__c", "reference", 18, to="Account"), Field("Opportunity__c", "reference", 18, to="Opportunity"),
        Field("Status__c", length=40), Field("Total__c", "currency"), Field("Open__c", "currency"), Field("Due_Date__c", "date"),
    ),
}  # fmt: skip
PREFIXES = {
    "Account": "001",
    "Contact": "003",
    "Opportunity": "006",
    "User": "005",
    "Contract": "800",
    "Invoice__c": "a01",
}
