"""The org's objects: standard ones with the fields that the library maps, the custom fields of a connected org, Invoice__c."""

from __future__ import annotations

from connectors.sandbox.salesforce.fields import Field
from connectors.sandbox.store import Shape

SYSTEM = "salesforce"
_SYSTEM = (
    Field("Id", "id", 18, read_only=True), Field("CreatedDate", "datetime", read_only=True),
    Field("LastModifiedDate", "datetime", read_only=True), Field("SystemModstamp", "datetime", read_only=True),
    Field("IsDeleted", "boolean", read_only=True), Field("Crosswalk_Id__c", "string", 64, unique=True, external=True),
    Field("CurrencyIsoCode", "picklist", 3), Field("OwnerId", "reference", 18, to="User"),
)  # fmt: skip
STAGES = ("Prospecting", "Qualification", "Proposal", "Negotiation", "Closed Won", "Closed Lost")
FORECAST = ("Omitted", "Pipeline", "Best Case", "Commit", "Closed")
CHANCES = dict(zip(STAGES, (10, 20, 50, 75, 100, 0), strict=True))
CURRENCY = "GBP"
"""The org's own currency, of rows that name none."""


def _object(*fields: Field) -> dict[str, Field]:
    return {one.name: one for one in (*_SYSTEM, *fields)}


_LONG = Field("Description", "textarea", 32_000)
OBJECTS: dict[str, dict[str, Field]] = {
    "Account": _object(
        Field("Name", required=True), Field("AccountNumber", length=40),
        Field("ParentId", "reference", 18, to="Account", children="ChildAccounts"),
        Field("BillingStreet", "textarea"), Field("BillingCity", length=40), Field("BillingState", length=80),
        Field("BillingPostalCode", length=20), Field("BillingCountry", length=80), Field("Industry", length=40),
        Field("ShippingStreet", "textarea"), Field("ShippingCity", length=40), Field("ShippingState", length=80),
        Field("ShippingPostalCode", length=20), Field("ShippingCountry", length=80),
        Field("Website", "url"), Field("Phone", "phone", 40), _LONG, Field("ERP_Id__c", length=32, external=True),
        Field("Tax_Id__c", length=32), Field("Payment_Terms__c", length=40), Field("Region__c", length=40),
        Field("Status__c", "picklist", values=("Prospect", "Active", "On Hold", "Inactive")), Field("Credit_Limit__c", "currency"),
        Field("Legal_Entities__c", "multipicklist", values=("UK", "DE", "US")),
        Field("Credit_Status__c", "picklist", values=("Open", "Hold")),
    ),
    "Contact": _object(
        Field("AccountId", "reference", 18, to="Account", children="Contacts"), Field("Name", length=121, read_only=True),
        Field("FirstName", length=40), Field("LastName", length=80, required=True), Field("Email", "email", 80),
        Field("Phone", "phone", 40), Field("Title", length=128), Field("HasOptedOutOfEmail", "boolean"), Field("Role__c", length=40),
    ),
    "Opportunity": _object(
        Field("Name", length=120, required=True), Field("AccountId", "reference", 18, to="Account", children="Opportunities"),
        Field("StageName", "picklist", required=True, values=STAGES), Field("Amount", "currency"),
        Field("CloseDate", "date", required=True), Field("Probability", "percent"), Field("IsWon", "boolean", read_only=True),
        Field("IsClosed", "boolean", read_only=True), _LONG, Field("Billing_Method__c", length=40), Field("Legal_Entity__c", length=40),
        Field("Project_Code__c", length=40), Field("ForecastCategoryName", "picklist", 40, values=FORECAST),
        Field("Expected_Start__c", "date"), Field("Packages__c", "multipicklist", 4099), Field("Discount__c", "percent"),
    ),
    "OpportunityLineItem": _object(
        Field("OpportunityId", "reference", 18, to="Opportunity", required=True, children="OpportunityLineItems"),
        Field("PricebookEntryId", "reference", 18, to="PricebookEntry", required=True),
        Field("Product2Id", "reference", 18, to="Product2", read_only=True), Field("Name", read_only=True),
        Field("Quantity", "double", required=True), Field("UnitPrice", "currency"), Field("TotalPrice", "currency", read_only=True),
        Field("ServiceDate", "date"), Field("Description"),
    ),
    "Product2": _object(
        Field("Name", required=True), Field("ProductCode"), Field("IsActive", "boolean"), Field("Family", "picklist", 40),
        Field("Description", "textarea", 4000),
    ),
    "PricebookEntry": _object(
        Field("Product2Id", "reference", 18, to="Product2", required=True, children="PricebookEntries"),
        Field("Pricebook2Id", "id", 18), Field("Name", read_only=True), Field("UnitPrice", "currency", required=True),
        Field("IsActive", "boolean"), Field("UseStandardPrice", "boolean"), Field("ProductCode", read_only=True),
    ),
    "Contract": _object(
        Field("AccountId", "reference", 18, to="Account", required=True, children="Contracts"), Field("StartDate", "date"),
        Field("EndDate", "date"), Field("ContractTerm", "int"),
        Field("Status", "picklist", 40, values=("Draft", "In Approval Process", "Activated")),
        Field("ContractNumber", length=30, read_only=True), Field("Opportunity__c", "reference", 18, to="Opportunity"),
        Field("Billing_Method__c", length=40), Field("Legal_Entity__c", length=40), Field("Value__c", "currency"),
        Field("Ceiling__c", "currency"), Field("SOW_Reference__c", length=40), Field("Amends__c", "reference", 18, to="Contract"),
    ),
    "Order": _object(
        Field("AccountId", "reference", 18, to="Account", required=True, children="Orders"), Field("OrderNumber", length=30, read_only=True),
        Field("ContractId", "reference", 18, to="Contract", children="Orders"),
        Field("OpportunityId", "reference", 18, to="Opportunity", children="Orders"),
        Field("EffectiveDate", "date", required=True), Field("EndDate", "date"), Field("PoNumber", length=80),
        Field("Status", "picklist", 40, required=True, values=("Draft", "Activated")), Field("TotalAmount", "currency", read_only=True),
    ),
    "OrderItem": _object(
        Field("OrderId", "reference", 18, to="Order", required=True, children="OrderItems"),
        Field("PricebookEntryId", "reference", 18, to="PricebookEntry", required=True),
        Field("Product2Id", "reference", 18, to="Product2", read_only=True), Field("Quantity", "double", required=True),
        Field("UnitPrice", "currency"), Field("TotalPrice", "currency", read_only=True), Field("ServiceDate", "date"), Field("Description"),
    ),
    "User": _object(
        Field("Username", length=80, required=True, unique=True), Field("Name", read_only=True), Field("FirstName", length=40),
        Field("LastName", length=80, required=True), Field("Email", "email", 128), Field("IsActive", "boolean"),
        Field("EmployeeNumber", length=20),
    ),
    "Task": _object(
        Field("Subject"), Field("Status", "picklist", 40, required=True, values=("Not Started", "In Progress", "Completed", "Deferred")),
        Field("Priority", "picklist", 40), Field("ActivityDate", "date"), Field("WhatId", "id", 18), Field("WhoId", "id", 18), _LONG,
    ),
    "Invoice__c": _object(
        Field("Name", length=80, required=True), Field("Number__c", length=40, unique=True, external=True),
        Field("Account__c", "reference", 18, to="Account", children="Invoices__r"),
        Field("Opportunity__c", "reference", 18, to="Opportunity", children="Invoices__r"),
        Field("Status__c", length=40), Field("Total__c", "currency"), Field("Open__c", "currency"), Field("Due_Date__c", "date"),
    ),
}  # fmt: skip
PREFIXES = {
    "Account": "001", "Contact": "003", "Opportunity": "006", "User": "005", "Contract": "800", "Invoice__c": "a01",
    "OpportunityLineItem": "00k", "Product2": "01t", "PricebookEntry": "01u", "Task": "00T",
    "Order": "801", "OrderItem": "802",
}  # fmt: skip
SHAPE = Shape("SystemModstamp", {
    name: tuple(one.name for one in fields.values() if one.external or one.unique or (one.to and one.name != "OwnerId"))
    for name, fields in OBJECTS.items()
})  # fmt: skip


def object_of(id: str) -> str | None:
    """The object that an id belongs to."""
    return next((name for name, prefix in PREFIXES.items() if id.startswith(prefix)), None)


def spelling(object: str, name: str) -> str | None:
    """A field's own spelling of a name in any case; None where the object has no such field."""
    return _NAMES[object].get(name.lower())


_NAMES = {object: {name.lower(): name for name in fields} for object, fields in OBJECTS.items()}
