"""The demo as a user runs it: from the source, and from the wheel in a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CROSSWALK = str(Path(sys.executable).parent / "crosswalk")


def demo(command: list[str], folder: Path) -> dict[str, Any]:
    done = subprocess.run([*command, "demo", "d", "--json"], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["demo"]
    return found


def test_the_demo_writes_once_and_one_change_is_one_update_in_each_target(tmp_path: Path) -> None:
    told = demo([CROSSWALK], tmp_path)
    assert told["as_expected"]
    assert sum(run["created"] for run in told["first"]) > 200
    assert all(run[name] == 0 for run in told["second"] for name in ("created", "updated", "deleted"))
    assert [list(change["fields"]) for change in told["plan"][0]["changes"]] == [["phone_number"], ["phone"]]
    assert told["third"][0]["updated"] == 2

    def run(*words: str) -> tuple[int, str]:
        done = subprocess.run([CROSSWALK, *words], cwd=tmp_path / "d", capture_output=True, text=True, timeout=60)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout

    runs = {one["flow"]: one for one in told["first"]}
    assert all(one["state"] in ("succeeded", "partial") for one in told["first"]), "no guard holds a flow of the demo"
    assert runs["invoices-to-psa"]["created"] == 8, "each its amount to the cent, and the invoice that holds it"
    assert runs["contracts"]["read"] == 16 and runs["project-facts"]["quarantined"] > 0
    billed = {
        row["user_invoice_number"]: row
        for row in json.loads(run("sandbox", "list", "kantata", "invoices", "--json")[1])["records"]
    }
    owed = {
        row["tranId"]: row for row in json.loads(run("sandbox", "list", "netsuite", "invoice", "--json")[1])["records"]
    }
    assert Decimal(billed["INV-0010"]["total_in_cents"]) == 100 * Decimal(str(owed["INV-0010"]["total"]))
    assert "INV-0011" not in billed, "an invoice in yen of a project in euros waits for a person"
    code, told_of = run(
        "mapping",
        "preview",
        "salesforce/account",
        "--record",
        "crm:001000000000003AAA",
        "--to",
        "netsuite/customer",
        "--json",
    )
    shown = json.loads(told_of)["preview"]
    assert code == 0 and shown["fields"][0]["canonical"] == "Saffron Foods" and shown["faults"] == []
    assert {"companyName", "comments"} <= {one["field"] for one in shown["payload"]}
    before = json.loads(run("exceptions", "list", "--json")[1])["exceptions"]
    for what in (
        "has no contract to bill by",
        "is not signed",
        "has no legal entity",
        "closed project",
        "is in JPY, its project",
    ):
        assert any(one["code"] == "E430" and what in one["message"] for one in before), what
    closed = [one for one in before if one["code"] == "E430" and "closed project P-3" in one["message"]]
    assert closed
    assert run("sandbox", "edit", "kantata", "workspaces", "3", '{"status": {"key": "active"}}')[0] == 0
    _code, out = run("run", "projects-to-erp", "time-to-erp", "--json")
    time_run = json.loads(out)["runs"][1]
    assert time_run["created"] == len(closed)
    mapping = tmp_path / "d/mappings/netsuite/customer.yaml"
    mapping.write_text(mapping.read_text().replace("Client {{ number }}", "No. {{ number }}"))
    plan = json.loads(run("plan", "clients", "--full", "--json")[1])["plans"][0]
    assert plan["calls"] == {"psa": 0, "erp": plan["updated"]}, "the ERP takes one record a call"
    assert plan["updated"] > 10 and all(set(change["fields"]) == {"comments"} for change in plan["changes"])
    assert run("validate")[0] == 0


@pytest.mark.skipif(os.environ.get("CROSSWALK_NO_WHEEL") == "1", reason="building the wheel was switched off")
def test_the_wheel_carries_the_library_and_runs_the_demo_anywhere(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    place = tmp_path / "venv"
    venv.create(place, with_pip=True, system_site_packages=False)
    python = place / "bin/python"
    # the dependencies come from this environment; the package itself only from the wheel
    here = subprocess.run(
        [sys.executable, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True
    ).stdout.strip()
    subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)], check=True, capture_output=True
    )
    site = next((place / "lib").glob("python*/site-packages"))
    code = f"import sys; sys.path[:] = [p for p in sys.path if p != {str(ROOT)!r}] + [{here!r}]; from engine.cli.main import run; run()"
    runner = tmp_path / "crosswalk.py"
    runner.write_text(code)
    env_command = [str(python), "-I", str(runner)]
    probe = subprocess.run(
        [str(python), "-I", "-c", "import engine; print(engine.__file__)"], capture_output=True, text=True
    ).stdout
    assert str(site) in probe
    assert demo(env_command, tmp_path)["as_expected"]
