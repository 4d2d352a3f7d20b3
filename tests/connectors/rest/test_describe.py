"""What a system tells of its own fields, merged with the manifest."""

from __future__ import annotations

import pytest

from connectors.sandbox.server import Reply
from engine.sdk.errors import ConnectorError
from engine.spec.workspace import Workspace
from tests.connectors.rest.conftest import Connect, Serve


def test_salesforce_tells_types_lengths_values_and_references(workspace: Workspace) -> None:
    with workspace.connector("salesforce") as connector:
        assert connector.describe("Account").fields == ()  # a run asks for nothing
        info = connector.metadata("Account")
    name, owner = info.field("Name"), info.field("OwnerId")
    assert name is not None and (name.type, name.required, name.writable) == ("string", True, True) and name.max_length
    assert owner is not None and owner.references == ("User",)
    assert info.field("SystemModstamp").type == "datetime" and not info.field("SystemModstamp").writable  # type: ignore[union-attr]
    assert info.marker == "Crosswalk_Id__c" and info.field(info.marker) is not None


def test_netsuite_tells_its_schema_and_the_manifest_what_it_does_not(workspace: Workspace) -> None:
    with workspace.connector("netsuite") as connector:
        info = connector.metadata("timeBill")
    hours, employee = info.field("hours"), info.field("employee")
    assert hours is not None and hours.type == "decimal" and hours.required  # a text there, a number in our records
    assert employee is not None and (employee.type, employee.references) == ("object", ("employee",))
    assert info.field("tranDate").type == "date"  # type: ignore[union-attr]


def test_a_system_without_a_description_is_what_the_manifest_says(workspace: Workspace) -> None:
    with workspace.connector("kantata") as connector:
        assert connector.metadata("users") == connector.describe("users")


def test_a_description_of_another_shape_is_an_error(connect: Connect, serve: Serve) -> None:
    manifest = """
connector: x
settings: { url: { required: true } }
base: "{url}"
describe: { get: "/meta/{object}", fields: body.fields }
objects: { things: { read: { get: /things, records: body } } }
"""
    with pytest.raises(ConnectorError, match="C530.*no fields at 'body.fields'"):
        connect(manifest, url=serve(lambda _: Reply(200, {"fields": "none"})).url).metadata("things")
