"""What is sensitive: a field, and one that holds such a field however deep."""

from __future__ import annotations

from engine.run.disclosure import sensitive, sensitive_paths
from engine.spec.workspace import Workspace
from tests.conftest import Make

HEAD = "$schema: https://json-schema.org/draft/2020-12/schema\ntype: object\nadditionalProperties: false\n"
FILES = {
    "crosswalk.yaml": "crosswalk: 1\nname: t\n",
    "schemas/bank.yaml": HEAD + "properties: { name: { type: string }, iban: { type: string, x-sensitive: financial } }\n",
    "schemas/person.yaml": HEAD + """
properties:
  name: { type: string }
  pay: { type: number, x-sensitive: compensation }
  home: { type: object, additionalProperties: false, properties: { street: { type: string, x-sensitive: personal }, city: { type: string } } }
  banks: { type: array, items: { $ref: bank } }
  skills: { type: array, items: { type: string } }
""",
}  # fmt: skip


def test_a_field_that_holds_something_sensitive_is_sensitive(make: Make) -> None:
    workspace = Workspace.open(make(FILES))
    assert sensitive_paths(workspace, "person") == {"pay", "home.street", "banks.iban"}
    assert sensitive(workspace, "person") == {"pay", "home", "banks"}
