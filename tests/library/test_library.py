"""The professional-services library: every entity is there, sound, and refers to what exists."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from engine.compile.registry import Registry
from engine.spec.workspace import Workspace
from tests.conftest import Make

ENTITIES = (
    "client contact opportunity contract engagement project task milestone budget change-request resource assignment resource-request "
    "time-off calendar rate-card labour-category service time-entry expense expense-report usage-entry billing-event invoice credit-note "
    "payment revenue-schedule journal-entry purchase-request purchase-order vendor vendor-bill legal-entity cost-centre accounting-period "
    "exchange-rate tax-code document"
).split()


@pytest.fixture
def workspace(make: Make) -> Workspace:
    return Workspace.open(make({"crosswalk.yaml": "crosswalk: 1\nname: library\n"}))


def plain(node: object) -> object:
    """The schema without our annotations and without references to other schemas, for the meta-schema's own check."""
    if isinstance(node, dict):
        return {key: plain(value) for key, value in node.items() if not str(key).startswith("x-") and key != "$ref"}
    return [plain(one) for one in node] if isinstance(node, list) else node


@pytest.mark.parametrize("entity", ENTITIES)
def test_every_entity_has_a_schema_whose_fields_are_described(workspace: Workspace, entity: str) -> None:
    document = workspace.document("schema", entity)
    Draft202012Validator.check_schema(plain(document.data))
    compiled = Registry(workspace).schema(entity)
    assert document.data["x-version"] == "1.0.0"
    assert all(field.get("description") for field in document.data["properties"].values())
    for path, targets in compiled.refs.items():
        assert all(target == "any" or target in workspace.names("schema") for target in targets), path
    for name, field in document.data["properties"].items():
        assert "x-transitions" not in field or set(field["x-transitions"]) <= set(field["enum"]), name
    optional = [name for name in document.data["properties"] if name not in document.data.get("required", ())]
    faults = list(compiled.faults({"id": "x", **dict.fromkeys(optional)}))
    assert all("is required" in what for _, what in faults)


def test_nothing_in_a_flow_knows_a_vendor() -> None:
    root = Path(__file__).parents[2]
    for path in (root / "flows").glob("*.yaml"):
        lines = [line for line in path.read_text().splitlines() if "mapping:" not in line]
        assert not any(vendor in line.lower() for line in lines for vendor in ("salesforce", "kantata", "netsuite")), (
            path
        )
