"""docs/serve.md: its YAML is sound, its commands work, and the table of answers is what is answered."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from engine.cli.main import main
from engine.compile.workspace import problems_of
from engine.spec.workspace import Workspace
from tests.conftest import Make
from tests.house.test_docs import blocks
from tests.run.test_sync import FILES, person
from tests.serve.world import Served, taking_webhooks

PAGE = Path(__file__).parents[2] / "docs/serve.md"


def call(folder: Path, *words: str) -> tuple[int, Any]:
    done = CliRunner().invoke(main, [*words, "--json", "--workspace", str(folder)], standalone_mode=False)
    assert done.exception is None, done.exception
    return int(done.return_value or 0), json.loads(done.stdout)


def test_the_guide_is_sound_and_its_commands_work(make: Make) -> None:
    scheduled, hooked, settings = blocks(PAGE)
    crm = 'connections:\n          crm: { connector: salesforce, url: https://x.my.salesforce.com, auth: { kind: bearer, token: "${secret:sf}" } }'
    files = {**FILES, "flows/people-hourly.yaml": scheduled, "flows/clients-at-once.yaml": hooked}
    folder = make({**files, "crosswalk.yaml": FILES["crosswalk.yaml"].replace("connections:", crm)})
    assert problems_of(Workspace.open(folder), ["people-hourly", "clients-at-once"]) == []
    with taking_webhooks():
        world = Served(folder)
        world.put("people", [person("1")])
        code, told = call(folder, "schedule", "list")
        assert code == 0 and [(one["flow"], one["trigger"]) for one in told["schedules"]] == [
            ("clients-at-once", "webhook crm /hooks/salesforce/accounts"), ("clients-at-once", "0 * * * * UTC"),
            ("people-hourly", "*/15 7-19 * * mon-fri Europe/London"),
        ]  # fmt: skip
        code, told = call(folder, "schedule", "next", "people-hourly", "--from", "2026-10-23T18:40:00Z", "--count", "2")
        assert [one["local"] for one in told["ticks"]] == ["2026-10-23T19:45:00+01:00", "2026-10-26T07:00:00+00:00"]
        call(folder, "schedule", "pause", "people-hourly", "--because", "month end")
        _, told = call(folder, "schedule", "list")
        (rest,) = [one["paused"] for one in told["schedules"] if one["paused"]]
        assert rest["because"] == "month end" and told["schedules"][2]["next"] is None
        assert call(folder, "schedule", "resume", "people-hourly")[1] == {"resumed": "people-hourly", "events": 0}
        assert call(folder, "serve", "--once")[1] == {"runs": []}
        with world.store.read() as tx:
            assert [row[0] for row in tx.rows("SELECT action FROM audit ORDER BY seq")] == [
                "schedule pause",
                "schedule resume",
            ]
        world.store.close()
    (folder / "crosswalk.yaml").write_text(settings)
    assert Workspace.open(folder).settings.serve.workers == {"webhook": 4, "bulk": 2}


def test_every_status_that_the_receiver_gives_is_in_the_guide() -> None:
    code = (PAGE.parents[1] / "engine/serve/webhooks.py").read_text()
    given = set(re.findall(r"\b(4\d\d|503)\b", code)) - {"400"} | {"400"}
    told = set(re.findall(r"\b(4\d\d|503)\b", PAGE.read_text()))
    assert given <= told
