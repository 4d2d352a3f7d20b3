"""What the README and the demo tell a new user to do, done."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.cli.test_commands import call, told

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    place = tmp_path_factory.mktemp("demo")
    code, out, err = call(place, "demo", "d", timeout=400)
    assert code == 0, out + err
    return place / "d", out


def test_the_first_mapping_has_ten_lines_and_does_what_is_said(tmp_path: Path) -> None:
    (mapping,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert len(mapping.splitlines()) == 10
    call(tmp_path, "init", "w")
    folder = tmp_path / "w"
    (folder / "mappings/salesforce").mkdir()
    (folder / "mappings/salesforce/account.yaml").write_text(mapping)
    (folder / "sample.json").write_text(
        '{"Name": " Acme ", "Payment_Terms__c": "Net 30", "CurrencyIsoCode": "EUR", "Status__c": "Active"}'
    )
    code, answer = told(
        folder, "mapping", "preview", "salesforce/account", "--file", "sample.json", "--to", "salesforce/account"
    )
    canonical = {row["field"]: row["canonical"] for row in answer["preview"]["fields"]}
    assert code == 0 and (canonical["name"], canonical["payment_terms"], canonical["status"]) == (
        "Acme",
        "net30",
        "active",
    )
    payload = {row["field"]: row["value"] for row in answer["preview"]["payload"]}
    assert (payload["Name"], payload["Payment_Terms__c"], payload["Status__c"]) == ("Acme", "Net 30", "Active")


def _shape(text: str) -> list[str]:
    text = re.sub(r"x-\d{8}-\d{6}-\w{6}", "ID", re.sub(r"\b[0-9a-f]{32}\b", "HEX", text))
    text = re.sub(r":\d+:\d+ ", ":L:C ", re.sub(r"P-\d+", "P-N", text))
    return [re.sub(r"\b\d+\b", "N", line).rstrip() for line in text.strip().splitlines()]


def test_a_bad_record_is_shown_as_the_readme_shows_it(demo: tuple[Path, str]) -> None:
    (block,) = re.findall(r"```\n\$ (crosswalk exceptions list.*?)```", README, re.DOTALL)
    command, _, shown = block.partition("\n")
    code, out, _ = call(demo[0], *shlex.split(command)[1:])
    assert code == 0 and _shape(out) == _shape(shown)


def test_the_three_next_things_of_the_demo_work(demo: tuple[Path, str]) -> None:
    folder, out = demo
    steps = re.findall(r"^  \d\. (.+)$", out, re.MULTILINE)
    assert len(steps) == 3
    mapping = folder / "mappings/netsuite/customer.yaml"
    mapping.write_text(mapping.read_text("utf-8").replace("Client {{ number }}", "Number {{ number }}"), "utf-8")
    for step in steps:
        assert "crosswalk " in step
        for command in re.split(r" && |, then ", step):
            if not command.startswith("crosswalk "):
                assert (folder / command.removeprefix("edit ")).is_file(), command
                continue
            code, said, err = call(folder, *shlex.split(command)[1:])
            assert code in (0, 3) and said and not err.startswith("X"), (command, said, err)
    look = out.rsplit("Look around: ", 1)[1].strip().split(" · ")
    assert len(look) == 3
    for command in look:
        code, said, err = call(folder, *shlex.split(command)[1:])
        assert code == 0 and said, (command, said, err)
    code, said, _ = call(folder, "plan", "clients", "--full")
    assert code == 0 and re.search(r"comments: 'Client C-\d+' → 'Number C-\d+'", said)
