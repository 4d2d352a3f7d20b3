"""Owners of fields: by condition, and the next in the list where no connection has the role."""

from __future__ import annotations

import json

import pytest

from engine.compile.registry import Registry
from engine.spec.workspace import Workspace
from tests.conftest import Make

SCHEMA = """
$schema: https://json-schema.org/draft/2020-12/schema
title: Thing
x-version: 1.0.0
type: object
additionalProperties: false
properties:
  cost: { type: number, x-owner: [ { role: expense }, { role: psa } ] }
  text: { type: string, x-owner: [ { role: crm, when: "status == 'draft'" }, { role: psa } ] }
  rate: { type: number, x-owner: erp }
  status: { type: string }
"""


@pytest.mark.parametrize(
    ("roles", "cost", "text", "signed"),
    [
        (("crm", "psa", "expense"), "expense", "crm", "psa"),
        (("crm", "psa"), "psa", "crm", "psa"),
        (("psa",), "psa", "psa", "psa"),
        ((), "psa", "psa", "psa"),  # the last one owns it whatever the workspace has
    ],
)
def test_of_several_owners_those_that_no_connection_has_are_passed_over(
    make: Make, roles: tuple[str, ...], cost: str, text: str, signed: str
) -> None:
    connections = {f"c{number}": {"connector": "files", "path": "x", "role": role} for number, role in enumerate(roles)}
    settings = json.dumps({"crosswalk": 1, "name": "x", "connections": connections})
    folder = make({"crosswalk.yaml": settings, "schemas/thing.yaml": SCHEMA})
    owners = Registry(Workspace.open(folder)).schema("thing").ownership.owners
    draft, done = {"status": "draft"}, {"status": "signed"}
    assert owners["cost"].of(draft, None) == cost
    assert (owners["text"].of(draft, None), owners["text"].of(done, None)) == (text, signed)
    assert owners["rate"].of(draft, None) == "erp", "a single owner owns, also where nobody has the role"
