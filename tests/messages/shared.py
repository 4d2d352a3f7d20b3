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
