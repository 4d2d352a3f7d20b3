"""The demo as a user runs it: from the wheel, in a folder of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def demo(command: list[str], folder: Path) -> dict[str, Any]:
    done = subprocess.run([*command, "demo", "d", "--json"], cwd=folder, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["demo"]
    return found


@pytest.fixture
def installed(tmp_path: Path) -> list[str]:
    """The command of a wheel that was built here and installed where nothing of the source is."""
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        assert {f"engine/run/templates/report.{one}" for one in ("html", "css")} <= set(packed.namelist())
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
    return env_command


def test_the_demo_of_the_wheel_tells_quote_to_cash_and_what_it_tells_is_so(
    installed: list[str], tmp_path: Path
) -> None:
    told = demo(installed, tmp_path)
    assert told["as_expected"] and set(told["checks"].values()) == {True} and len(told["checks"]) == 10
    assert sum(run["created"] for run in told["first"]) > 1000
    assert all(run[name] == 0 for run in told["second"] for name in ("created", "updated", "deleted"))
    runs = {one["flow"]: one for one in told["first"]}
    assert all(one["state"] in ("succeeded", "partial") for one in told["first"]), "no guard holds a flow of the demo"
    assert sum(one["quarantined"] for one in told["first"]) < 60, "a handful of each kind of dirt"
    assert runs["contracts"]["read"] == 16 and runs["project-facts"]["quarantined"] > 0
    figures = {one["indicator"]: one for one in told["figures"]}
    assert figures["project-set-up-time"]["unit"] == "hours" and figures["receivables-overdue"]["count"] > 0
    assert {one["cause"] for one in figures["deals-awaiting-a-project"]["causes"]} == {
        "waits for approval",
        "waits for a person",
    }
    assert runs["quote-to-project"]["waiting"] == 3 and runs["quote-to-project"]["created"] == 5

    nights = {one["flow"]: one["breaks"] for one in told["compared"]}
    assert len(nights) == 9 and sum(one["remaining"] for one in nights.values()) == 9, "what the systems had before"
    assert nights["time-nightly"]["compared"] > 1000
    clean = ("billing-nightly", "invoice-totals-nightly", "receivables-nightly")
    assert all(nights[name]["remaining"] == 0 for name in clean)

    def run(*words: str) -> tuple[int, Any]:
        done = subprocess.run(
            [*installed, *words, "--json"], cwd=tmp_path / "d", capture_output=True, text=True, timeout=300
        )
        assert "Traceback" not in done.stderr
        return done.returncode, json.loads(done.stdout)

    def records(system: str, object: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = run("sandbox", "list", system, object)[1]["records"]
        return found

    billed = {row["user_invoice_number"]: row for row in records("kantata", "invoices")}
    owed = {row["tranId"]: row for row in records("netsuite", "invoice")}
    assert Decimal(billed["INV-0010"]["total_in_cents"]) == 100 * (Decimal(str(owed["INV-0010"]["total"])) - 100)
    assert "INV-0011" not in billed, "an invoice in yen of a project in euros waits for a person"
    (paid,) = [number for number in billed if number.startswith("B-P-1001-")]
    assert billed[paid]["status"] == "paid" and owed[paid]["status"]["id"] == "paidInFull"
    code, found = run(
        "mapping", "preview", "salesforce/account", "--record", "crm:001000000000003AAA", "--to", "netsuite/customer"
    )
    shown = found["preview"]
    assert code == 0 and shown["fields"][0]["canonical"] == "Saffron Foods" and shown["faults"] == []
    assert {"companyName", "comments"} <= {one["field"] for one in shown["payload"]}
    before = run("exceptions", "list")[1]["exceptions"]
    for what in (
        "has no contract to bill by", "is not signed", "is over the ceiling of 99.99", "falls into an accounting period that is closed",
        "is not the price of", "has no price for", "closed project P-8", "25.5000 hours on one day",
        "is booked to closed phase Design phase of project P-2", "Task Favour is on line 2, which contract 00000002 does not bill", "does not hold on", "does not balance",
    ):  # fmt: skip
        assert 1 <= sum(one["code"] == "E430" and what in one["message"] for one in before) <= 4, what
    code, found = run("reconcile", "breaks", "invoice-totals-nightly")
    assert code == 0 and ("INV-0010", 100) in {(one["label"], one["amount"]) for one in found["breaks"]}
    assert run("reconcile", "report", "invoice-totals-nightly")[0] in (0, 3)
    # the next steps, as the demo tells them
    assert (
        run("sandbox", "edit", "salesforce", "Account", "001000000000003AAA", '{"Phone": "+44 20 5550 9999"}')[0] == 0
    )
    plan = run("plan", "clients")[1]["plans"][0]
    assert [list(change["fields"]) for change in plan["changes"]] == [["phone_number"], ["phone"]]
    mapping = tmp_path / "d/mappings/netsuite/customer.yaml"
    mapping.write_text(mapping.read_text().replace("Client {{ number }}", "No. {{ number }}"))
    plan = run("plan", "clients", "--full")[1]["plans"][0]
    erp = [change for change in plan["changes"] if change["target"] == "erp"]
    assert len(erp) > 10 and all("comments" in change["fields"] for change in erp)
    assert run("sandbox", "add", "netsuite", "term", '{"name": "Net 5"}')[0] == 0
    assert run("sandbox", "add", "netsuite", "invoice", "{}")[0] == 2
    assert run("validate")[0] == 0
