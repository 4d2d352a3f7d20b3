"""Cases of fields that two systems share."""

from __future__ import annotations

import json

from engine.sdk.errors import Problem
from tests.messages.case import SCHEMA, Place, case
from tests.messages.records import ADA, SETTINGS, Line

FILES = {
    "crosswalk.yaml": SETTINGS + "  far: { connector: files, path: far, format: ndjson }\n",
    "schemas/person.yaml": SCHEMA + "x-match: [[code]]\nproperties: { name: { type: string, x-owner: shared }, code: { type: string } }\n",
    "flows/far.yaml": "flow: far\nkind: sync\nentity: person\nsource: { connection: far, mapping: src/people }\ntargets: []\n",
}  # fmt: skip


@case("E414")
def changed_on_both_sides(place: Place) -> Problem:
    line = Line(place, "name: name\ncode: code", flow="targets: []\nconflict: quarantine\n", files=FILES)

    def far(name: str) -> None:
        place.write({"far/people.ndjson": json.dumps({"id": "9", "name": name, "code": "x"}) + "\n"})

    far("Ada")
    line.put({**ADA, "code": "x"}).run("people", "far")
    far("Bea")
    line.put({**ADA, "name": "Cyd", "code": "x", "at": "2026-02-01T00:00:00Z"}).run("far", "people")
    return line.told("E414")


@case("E416")
def overwritten_in_turn(place: Place) -> Problem:
    both = {**FILES, "flows/far.yaml": FILES["flows/far.yaml"].replace("targets: []", "targets: [{ connection: src, mapping: src/people }]\nguard: { errors: 100% }")}  # fmt: skip
    line = Line(
        place, "name: name\ncode: code", flow="targets: [{ connection: far, mapping: src/people }]\n", files=both
    )

    def far(name: str, minute: int) -> None:
        row = {"id": "9", "name": name, "code": "x", "at": f"2026-02-01T00:{minute:02}:00Z"}
        place.write({"far/people.ndjson": json.dumps(row) + "\n"})

    far("Ada", 0)
    line.put({**ADA, "code": "x"}).run("people", "far")
    for minute in range(1, 9, 2):
        far("Bea", minute)
        line.run("far")
        line.put({**ADA, "name": "Cyd", "code": "x", "at": f"2026-02-01T00:{minute + 1:02}:00Z"}).run("people")
    return line.told("E416")
