"""Rows of Salesforce: made, changed, upserted by external id, deleted to the recycle bin; feeds of what changed."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

from connectors.sandbox.clock import instant, written
from connectors.sandbox.salesforce.errors import Fault, not_found
from connectors.sandbox.salesforce.fields import Field, long_id, spelled
from connectors.sandbox.salesforce.objects import CHANCES, CURRENCY, OBJECTS, PREFIXES, SYSTEM, object_of, spelling
from connectors.sandbox.store import Doc, Store

BIN = timedelta(days=15)


class Rows:
    """Writes to one store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def fields(self, object: str, code: str = "NOT_FOUND") -> dict[str, Field]:
        if object in OBJECTS:
            return OBJECTS[object]
        if code == "NOT_FOUND":
            raise not_found()
        raise Fault("INVALID_TYPE", f"sObject type '{object}' is not supported.")

    def found(self, object: str, id: str) -> Doc:
        """A row that is not deleted. Raises Fault NOT_FOUND, ENTITY_IS_DELETED."""
        doc = self.store.get(SYSTEM, object, long_id(id), deleted=True)
        if doc is None:
            raise not_found()
        if doc.get("IsDeleted"):
            raise Fault("ENTITY_IS_DELETED", "entity is deleted", 404)
        return doc

    def where(self, object: str, name: str, value: Any) -> list[Doc]:
        """Rows by external id; letters' case does not matter."""
        if name == "Id":
            doc = self.store.get(SYSTEM, object, long_id(str(value)))
            return [doc] if doc else []
        spec = OBJECTS[object].get(name)
        if spec is None or not (spec.external or spec.unique):
            raise Fault("NOT_FOUND", "Provided external ID field does not exist or is not accessible: " + name, 404)
        return self.store.keyed(SYSTEM, object, name, value)

    # ------------------------------------------------------------------ writes
    def create(self, object: str, fields: Doc) -> str:
        with self.store.writing():
            values = self.checked(object, fields, None)
            start = 1_000_000  # past every row of the seed
            id = long_id(f"{PREFIXES[object]}{self.store.next_id(f'salesforce {object}', start):012d}")
            at = spelled(self.store.clock.now())
            blank = {name: False if one.kind == "boolean" else None for name, one in OBJECTS[object].items()}
            given = {name: value for name, value in values.items() if value is not None}
            doc = {**blank, "OwnerId": f"005{1:012d}AAA", "CurrencyIsoCode": CURRENCY, **given, "Id": id, "CreatedDate": at,
                   "LastModifiedDate": at, "SystemModstamp": at}  # fmt: skip
            self.store.put(SYSTEM, object, id, self.derived(object, doc, values))
            self.store.note(SYSTEM, object, "create", id, values)
        return id

    def update(self, object: str, id: str, fields: Doc, unless_after: str | None = None) -> None:
        """Change a row. unless_after: an HTTP date; a later change of the row refuses this one with 412."""
        with self.store.writing():
            doc = self.found(object, id)
            if unless_after is not None:
                limit = parsedate_to_datetime(unless_after)
                if instant(doc["LastModifiedDate"])[:19] > written(limit)[:19]:
                    raise Fault("PRECONDITION_FAILED", "The record was modified after If-Unmodified-Since", 412)
            values = self.checked(object, fields, doc["Id"])
            at = spelled(self.store.clock.now())
            doc = self.derived(object, {**doc, **values, "LastModifiedDate": at, "SystemModstamp": at}, values)
            self.store.put(SYSTEM, object, doc["Id"], doc)
            self.store.note(SYSTEM, object, "update", doc["Id"], values)

    def upsert(self, object: str, name: str, value: Any, fields: Doc, only_update: bool = False) -> tuple[str, bool]:
        """(id, created). Raises Fault MULTIPLE_CHOICES where several rows have the value."""
        with self.store.writing():
            hits = self.where(object, name, value)
            if name in fields:
                raise Fault(
                    "INVALID_FIELD", f"The {name} field should not be specified in the sobject data.", fields=[name]
                )
            if len(hits) > 1:
                raise Fault("MULTIPLE_CHOICES", f"{name}: {value} is on {len(hits)} records", 300)
            if hits:
                self.update(object, hits[0]["Id"], fields)
                return str(hits[0]["Id"]), False
            if only_update or name == "Id":
                raise not_found()
            return self.create(object, {**fields, name: OBJECTS[object][name].read(str(value))}), True

    def delete(self, object: str, id: str, hard: bool = False) -> None:
        with self.store.writing():
            doc = self.found(object, id)
            at = spelled(self.store.clock.now())
            gone = {**doc, "IsDeleted": True, "LastModifiedDate": at, "SystemModstamp": at}
            self.store.put(SYSTEM, object, doc["Id"], gone, deleted=True)
            if hard:
                self.store.purge(SYSTEM, object, doc["Id"])
            self.store.note(SYSTEM, object, "delete", doc["Id"], {})

    # ------------------------------------------------------------------ checks
    def checked(self, object: str, fields: Doc, id: str | None) -> Doc:
        """Fields as they will be kept, parents resolved. Raises Fault."""
        found: Doc = {}
        for given, value in fields.items():
            if given == "attributes":
                continue
            name = spelling(object, given)
            if name is None:
                name, value = self._parent(object, given, value)
            spec = OBJECTS[object][name]
            if spec.read_only:
                raise Fault("INVALID_FIELD_FOR_INSERT_UPDATE", f"Unable to create/update fields: {name}. Please check the security "
                            "settings of this field and verify that it is read/write for your profile or permission set.", fields=[name])  # fmt: skip
            found[name] = spec.check(value)
            if spec.to and found[name] is not None and self.store.get(SYSTEM, spec.to, found[name]) is None:
                other = object_of(found[name])
                if other is not None and other != spec.to:
                    raise Fault(
                        "FIELD_INTEGRITY_EXCEPTION", f"{name}: id value of incorrect type: {found[name]}", fields=[name]
                    )
                raise Fault("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", fields=[name])
        required = [one.name for one in OBJECTS[object].values() if one.required]
        missing = [name for name in required if (id is None or name in found) and found.get(name) is None]
        if missing:
            raise Fault(
                "REQUIRED_FIELD_MISSING", f"Required fields are missing: [{', '.join(missing)}]", fields=missing
            )
        self._unique(object, found, id)
        return found

    def _parent(self, object: str, relation: str, value: Any) -> tuple[str, Any]:
        """`Account: {Crosswalk_Id__c: x}` as the id of that parent."""
        field = next(
            (one for one in OBJECTS[object].values() if (one.relation or "").lower() == relation.lower()), None
        )
        if field is None or field.to is None or not isinstance(value, dict):
            raise Fault("INVALID_FIELD", f"No such column '{relation}' on sobject of type {object}", fields=[relation])
        keys = [(key, one) for key, one in value.items() if key != "attributes"]
        if len(keys) != 1 or keys[0][1] in (None, ""):
            raise Fault(
                "INVALID_FIELD", f"Foreign key external ID is empty or ambiguous for {relation}", fields=[relation]
            )
        hits = self.where(field.to, *keys[0])
        if len(hits) != 1:
            raise Fault("INVALID_FIELD", f"Foreign key external ID: {keys[0][1]} not found for field {keys[0][0]} in entity {field.to}",
                        fields=[relation])  # fmt: skip
        return field.name, hits[0]["Id"]

    def _unique(self, object: str, found: Doc, id: str | None) -> None:
        for name, value in found.items():
            if OBJECTS[object][name].unique and value is not None:
                other = next((one for one in self.store.keyed(SYSTEM, object, name, value) if one["Id"] != id), None)
                if other:
                    raise Fault("DUPLICATE_VALUE", f"duplicate value found: {name} duplicates value on record with id: {other['Id']}",
                                fields=[name])  # fmt: skip

    def derived(self, object: str, doc: Doc, values: Doc) -> Doc:
        """A row with what Salesforce computes of it."""
        if object == "Opportunity":
            stage = doc.get("StageName")
            doc["IsWon"], doc["IsClosed"] = stage == "Closed Won", str(stage).startswith("Closed")
            if "StageName" in values and values.get("Probability") is None:
                doc["Probability"] = CHANCES.get(str(stage))
        elif object in ("Contact", "User"):
            doc["Name"] = " ".join(one for one in (doc.get("FirstName"), doc.get("LastName")) if one)
        elif object == "Contract" and not doc.get("ContractNumber"):
            doc["ContractNumber"] = doc["Id"][7:15]
        elif object == "Order" and not doc.get("OrderNumber"):
            doc["OrderNumber"], doc["TotalAmount"] = doc["Id"][7:15], Decimal(0)
        elif object in ("PricebookEntry", "OpportunityLineItem", "OrderItem"):
            self._priced(object, doc)
        return doc

    def _priced(self, object: str, doc: Doc) -> None:
        if object != "PricebookEntry":
            entry = self.store.get(SYSTEM, "PricebookEntry", str(doc["PricebookEntryId"])) or {}
            doc["Product2Id"] = entry.get("Product2Id")
            if object == "OpportunityLineItem":
                doc["Name"] = entry.get("Name")
            if doc.get("UnitPrice") is None:
                doc["UnitPrice"] = entry.get("UnitPrice")
            if doc.get("Quantity") is not None and doc.get("UnitPrice") is not None:
                doc["TotalPrice"] = doc["Quantity"] * doc["UnitPrice"]
        else:
            product = self.store.get(SYSTEM, "Product2", str(doc["Product2Id"])) or {}
            doc["Name"], doc["ProductCode"] = product.get("Name"), product.get("ProductCode")

    # ------------------------------------------------------------------ feeds
    def feed(self, object: str, kind: str, query: dict[str, str]) -> Doc:
        """Ids changed or rows deleted between two moments, whole minutes. Raises Fault INVALID_REPLICATION_DATE."""
        try:
            start, end = (instant(query[name].replace(" ", "+")) for name in ("start", "end"))
        except (KeyError, ValueError):
            raise Fault("INVALID_REPLICATION_DATE", "start and end must be dates and times") from None
        since, until = start[:16] + ":00.000Z", end[:16] + ":00.000Z"  # seconds are dropped
        if since >= until:
            raise Fault("INVALID_REPLICATION_DATE", "startDate must be at least one minute before endDate")
        covered = spelled(datetime.fromisoformat(until.replace("Z", "+00:00")))
        rows = list(self.store.scan(SYSTEM, object, since=since, until=until, deleted=True))
        if kind == "updated":
            return {"ids": [one["Id"] for one in rows if not one["IsDeleted"]], "latestDateCovered": covered}
        gone = [{"id": one["Id"], "deletedDate": one["SystemModstamp"]} for one in rows if one["IsDeleted"]]
        earliest = spelled(self.store.clock.now() - BIN)
        return {"deletedRecords": gone, "earliestDateAvailable": earliest, "latestDateCovered": covered}
