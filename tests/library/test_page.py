"""The library's page says what the library is."""

from __future__ import annotations

import os
from pathlib import Path

from engine.cli.library import library_page
from engine.spec.workspace import Workspace

PAGE = Path(__file__).parents[2] / "docs/library.md"
FOLDER = Path(__file__).parent / "workspace"


def test_the_page_of_the_library_is_what_its_documents_say() -> None:
    found = library_page(Workspace.open(FOLDER))
    if os.environ.get("CROSSWALK_WRITE_REFERENCE") == "1":
        PAGE.write_text(found, "utf-8")
    assert PAGE.read_text("utf-8") == found


def test_every_entity_is_on_it_and_every_mapping_has_a_direction() -> None:
    page = library_page(Workspace.open(FOLDER))
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ") and line.count(" | ") == 5]
    assert {row[3] for row in rows[1:]} <= {"reads", "writes", "reads, writes", "adds"}
    assert all(row[5].strip(" |") for row in rows), "every mapping leads with what to know"
    assert page.count("| client |") >= 3
