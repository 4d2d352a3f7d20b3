"""What a mapping reads and writes of the system's record: what connectors are asked for."""

from __future__ import annotations

from engine.compile.mapping import compile_inbound, compile_outbound
from engine.compile.registry import Registry
from engine.spec.workspace import Workspace
from tests.conftest import Make

MAPPING = """
mapping: x/opportunity
object: opportunities
entity: opportunity
where: "!Hidden"
fields:
  name: { from: Name, transform: [trim] }
  client: { from: Account.Id, ref: client }
  amount: { from: Amount, as: money, currency: Currency }
  service_lines:
    each: Lines.rows
    key: line
    fields:
      line: Id
      quantity: Quantity
      amount: { from: Price, as: money, currency: root().Iso }
inbound:
  stage: { template: "{{ Stage }}", when: "Step" }
  packages: { from: "Offers[].Title" }
outbound:
  Kind: { value: deal }
"""

PRICE = """
mapping: x/price
object: prices
entity: service
onto: { from: Product, ref: service }
fields: { price: { from: Amount, as: money, currency: "'EUR'" } }
"""


def test_what_a_mapping_is_put_onto_is_read(make: Make) -> None:
    workspace = Workspace.open(make({"crosswalk.yaml": "crosswalk: 1\nname: x\n", "mappings/x/price.yaml": PRICE}))
    found = compile_inbound(workspace.document("mapping", "x/price"), Registry(workspace))
    assert set(found.reads) == {"Product", "Amount"}


def test_a_mapping_reads_fields_of_the_record_and_not_those_of_list_elements(make: Make) -> None:
    folder = make({"crosswalk.yaml": "crosswalk: 1\nname: x\n", "mappings/x/opportunity.yaml": MAPPING})
    workspace = Workspace.open(folder)
    registry = Registry(workspace)
    document = workspace.document("mapping", "x/opportunity")
    assert set(compile_inbound(document, registry).reads) == {
        "Hidden", "Name", "Account.Id", "Amount", "Currency", "Lines.rows", "Iso", "Stage", "Step", "Offers"}  # fmt: skip
    assert set(compile_outbound(document, registry, role="").reads) == {
        "Name", "Account.Id", "Amount", "Currency", "Lines.rows", "Kind"}  # fmt: skip
