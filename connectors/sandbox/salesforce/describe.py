"""What Salesforce tells of itself: versions, limits, objects and their fields."""

from __future__ import annotations

from connectors.sandbox.salesforce.objects import OBJECTS, PREFIXES
from connectors.sandbox.store import Doc

VERSIONS = {
    "64.0": "Summer '25",
    "65.0": "Winter '26",
    "66.0": "Spring '26",
    "67.0": "Summer '26",
    "68.0": "Winter '27",
}
OLDEST = 31
RESOURCES = ("composite", "jobs", "limits", "query", "queryAll", "sobjects")


def versions() -> list[Doc]:
    """The newest versions, as listed without a token."""
    return [
        {"label": label, "url": f"/services/data/v{version}", "version": version} for version, label in VERSIONS.items()
    ]


def outline(object: str, version: str) -> Doc:
    """An object as the global describe has it."""
    base = f"/services/data/v{version}/sobjects/{object}"
    custom = object.endswith("__c")
    return {
        "name": object, "label": object.removesuffix("__c"), "labelPlural": object.removesuffix("__c") + "s", "custom": custom,
        "keyPrefix": PREFIXES[object], "queryable": True, "createable": True, "updateable": True, "deletable": object != "User",
        "retrieveable": True, "searchable": True, "replicateable": True, "undeletable": True, "layoutable": True,
        "urls": {"sobject": base, "describe": f"{base}/describe", "rowTemplate": f"{base}/{{ID}}"},
    }  # fmt: skip


def whole(object: str, version: str) -> Doc:
    """An object with its fields and child relationships."""
    children = [{"childSObject": other, "field": one.name, "relationshipName": one.children, "cascadeDelete": False}
                for other, fields in OBJECTS.items() for one in fields.values() if one.to == object]  # fmt: skip
    fields = [one.described() for one in OBJECTS[object].values()]
    return {**outline(object, version), "fields": fields, "childRelationships": children, "recordTypeInfos": []}


def limits(most: int, left: int) -> Doc:
    """The org's allocations."""
    return {
        "DailyApiRequests": {"Max": most, "Remaining": left}, "DailyBulkApiBatches": {"Max": 15_000, "Remaining": 15_000},
        "DailyBulkV2QueryJobs": {"Max": 10_000, "Remaining": 10_000}, "ConcurrentAsyncGetReportInstances": {"Max": 200, "Remaining": 200},
    }  # fmt: skip
