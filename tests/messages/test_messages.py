"""Every error code has a case that makes it happen, and the exact text that it prints.

`CROSSWALK_WRITE_MESSAGES=1 pytest tests/messages` (without -n) writes messages.txt anew; read what it says before you keep it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from engine.sdk.codes import CODES
from engine.sdk.errors import CrosswalkError
from tests.messages import commands, connections, documents, events, processes, records, shared
from tests.messages.case import CASES, Place

GOLDEN = Path(__file__).parent / "messages.txt"
ROOMS = (commands, connections, documents, events, processes, records, shared)
WITHOUT_PLACE = "CRSX"
"""Codes whose first letter is one of these concern no line of a document as a rule."""


def _plain(text: str, folder: Path) -> str:
    """Without what differs from run to run: folders, ports, ids, times."""
    text = text.replace(str(folder), "FOLDER").replace(str(folder.resolve()), "FOLDER")
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text)
    text = re.sub(r"\b([rxupv])-\d{8}-\d{6}-\w{6}\b", r"\1-ID", text)
    return re.sub(r"\b[0-9a-f]{32}\b", "ID", text)


def _golden() -> dict[str, str]:
    lines = GOLDEN.read_text("utf-8").splitlines() if GOLDEN.exists() else []
    return {line[:4]: line for line in lines}


@pytest.mark.parametrize("code", sorted(CASES))
def test_the_message_is_as_it_was_read(code: str, tmp_path: Path) -> None:
    try:
        found = str(CASES[code](Place(tmp_path)))
    except CrosswalkError as error:
        found = str(error.problem)
    told = _plain(found, tmp_path)
    assert told.startswith(f"{code} "), told
    known = _golden()
    if os.environ.get("CROSSWALK_WRITE_MESSAGES") == "1":
        known[code] = told
        GOLDEN.write_text("".join(f"{known[one]}\n" for one in sorted(known)), "utf-8")
    assert told == known.get(code)


def test_every_code_has_a_case_and_every_case_a_code() -> None:
    missing, gone = sorted(set(CODES) - set(CASES)), sorted(set(CASES) - set(CODES))
    assert not missing, f"write a case in tests/messages that makes each of these happen: {missing}"
    assert not gone, f"these codes are no more: {gone}"
    assert sorted(_golden()) == sorted(CODES)


@pytest.mark.parametrize("line", _golden().values(), ids=lambda line: str(line)[:4])
def test_every_message_says_where_what_and_what_to_do(line: str) -> None:
    code, rest = line.split(" ", 1)
    assert " — " in rest, "says nothing of what to write or do instead"
    assert not rest.endswith((".", " ")) and "\n" not in rest
    place = re.match(r"[\w:./-]+:\d+:\d+ ", rest)
    assert place or code[0] in WITHOUT_PLACE or code in ("E400", "E412", "E450", "E452", "E453"), "names no place"
    assert "Traceback" not in rest and "FOLDER" not in rest and "object at 0x" not in rest
