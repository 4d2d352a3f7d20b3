"""A reconciliation that writes reports of two systems with odd data, and how a browser takes its page."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from tests.run.reconcile_world import Systems, bill, invoice

FORMATS = ("html", "xlsx", "csv", "json")
EVIL = "<script>alert(1)</script>"
TURNED = "evil\u202egnp.exe\x1b[31m"
FORMULA = "=cmd|' /C calc'!A0"
FLOW = """
owner: finance
key: [number]
totals: [{ sum: total.amount, by: [status] }, { count: true }]
expect: { breaks_below: 2, amount_below: 1000 EUR, fresh_within: 1h }
report: [html, xlsx, csv, json]
"""


def reporting(folder: Path, address: str) -> Systems:
    """Differences of every kind."""
    it = Systems(folder, address)
    it.flow(FLOW)
    it.put(
        [
            invoice(1),
            invoice(2, total=1204.5),
            invoice(3, client_name=EVIL),
            invoice(4, note=FORMULA),
            invoice(5, note=TURNED),
        ],
        [bill(2), bill(3), bill(4), bill(5), bill(6, tranid=FORMULA, amount=-1)],
    )
    return it


def written(systems: Systems) -> dict[str, Path]:
    """Format → file of the latest run."""
    run = systems.run()
    assert run["state"] == "partial", run["error"]
    return {one["format"]: systems.folder / one["path"] for one in run["reports"]}


class Page(HTMLParser):
    """Tags with their attributes, and text, as a browser takes them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "rect", "line", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)
