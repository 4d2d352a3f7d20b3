"""What `heal:` says and the sides cannot do is told by `validate`."""

from __future__ import annotations

import textwrap

import pytest

from engine.compile.workspace import problems_of
from engine.spec.workspace import Workspace
from tests.conftest import Make
from tests.run.heal_world import files
from tests.run.reconcile_world import FILES

ONE_WAY = FILES["mappings/erp/bills.yaml"].replace("        fields:", "        inbound:")
OUT = {"mappings/erp/bills_out.yaml": FILES["mappings/erp/bills.yaml"].replace("erp/bills", "erp/bills_out"),
       "flows/push.yaml": FILES["flows/push.yaml"].replace("erp/bills", "erp/bills_out")}  # fmt: skip
SUMS = textwrap.dedent(FILES["flows/nightly.yaml"]).lstrip().replace(" }", ", group: [status], sum: [total] }")


def faults(make: Make, heal: str, more: dict[str, str] | None = None) -> list[str]:
    folder = make({**files(heal), **(more or {})})
    return [one.message for one in problems_of(Workspace.open(folder)) if one.code == "E397"]


@pytest.mark.parametrize(
    ("heal", "why"),
    [
        ("heal: { mismatch: deactivate }", "ends records that all sides have"),
        ("heal: { missing_left: deactivate }", "needs to know how a record is ended"),
    ],
)
def test_actions_that_no_side_can_do(make: Make, heal: str, why: str) -> None:
    (told,) = faults(make, heal + "\n")
    assert why in told


def test_a_side_that_cannot_be_written(make: Make) -> None:
    more = {"mappings/erp/bills.yaml": ONE_WAY, **OUT}
    (told,) = faults(make, "heal: { missing_right: owner, mismatch: owner }\n", more)
    assert "needs right to be written" in told
    assert faults(make, "heal: { mismatch: owner }\n", more) == []


def test_groups_are_nobodys_to_write(make: Make) -> None:
    flow = SUMS + "key: [status]\nheal: { missing_right: { flow: push } }\n"
    (told,) = faults(make, "", {"flows/nightly.yaml": flow})
    assert "groups are compared" in told


def test_what_the_sides_can_do_is_sound(make: Make) -> None:
    assert faults(make, "heal: { missing_right: deactivate, missing_left: owner, mismatch: owner, limit: 5 }\n") == []
