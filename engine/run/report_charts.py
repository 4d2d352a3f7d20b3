"""Charts of a report, as inline SVG: bars with their figures written beside them, so that nothing is told by colour alone."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from engine.run.report_words import amounts, number, plural
from engine.run.reports import Point, Tally, moment

WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM, TOP = 760, 190, 52, 62, 26, 14


def trend(points: Sequence[Point], below: int | None = None, *, hidden: bool = False) -> Markup:
    """Unexplained breaks of the last runs, the oldest first; below: the flow's limit."""
    top = _rounded(max([one.remaining for one in points] + ([below] if below else []), default=0))
    high, wide = HEIGHT - BOTTOM - TOP, WIDTH - LEFT - RIGHT
    step = wide / max(len(points), 6)
    parts = [
        _open("trend", WIDTH, HEIGHT, "Unexplained breaks by run", f"{plural(len(points), 'run')}, the oldest first")
    ]
    for share in (0, 0.5, 1):
        y = TOP + high * (1 - share)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        if share != 0.5 or top % 2 == 0:
            parts.append(
                f'<text class="axis" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number(int(top * share))}</text>'
            )
    for place, one in enumerate(points):
        tall = high * one.remaining / top
        x = LEFT + step * place + step * 0.15
        last = " now" if place == len(points) - 1 else ""
        stake = "" if hidden else amounts(one.sums)
        said = f"{moment(one.at)}: {plural(one.remaining, 'break')}{f', {stake}' if stake else ''}"
        parts.append(f'<g><title>{escape(said)}</title><rect class="bar{last}" x="{x:.1f}" y="{TOP + high - tall:.1f}" '
                     f'width="{step * 0.7:.1f}" height="{max(tall, 1):.1f}" rx="1.5"/></g>')  # fmt: skip
        if last or len(points) <= 10:
            parts.append(f'<text class="figure" x="{x + step * 0.35:.1f}" y="{TOP + high - tall - 4:.1f}" '
                         f'text-anchor="middle">{number(one.remaining)}</text>')  # fmt: skip
    if below:
        y = TOP + high * (1 - below / top)
        parts.append(f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="axis" x="{WIDTH - RIGHT + 5}" y="{y + 4:.1f}">below {number(below)}</text>')
    for place in sorted({0, len(points) - 1}) if points else ():
        x, anchor = LEFT + step * (place + 0.5), "middle" if place else "start"
        x = x - step * 0.35 if not place else x
        parts.append(
            f'<text class="axis" x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{escape(points[place].at[:10])}</text>'
        )
    return Markup("".join(parts) + "</svg>")  # noqa: S704 - numbers of ours, and text that is escaped


def bars(tallies: Sequence[Tally]) -> dict[str, Markup]:
    """A bar for each tally, beside which its table has the figure: name → SVG."""
    most = max([one.count for one in tallies], default=0)
    found = {}
    for one in tallies:
        long = 200 * one.count / most if most else 0
        svg = (
            '<svg class="inline" viewBox="0 0 200 12" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
            f'<rect class="track" width="200" height="12" rx="2"/><rect class="bar" width="{long:.1f}" height="12" rx="2"/></svg>'
        )
        found[one.name] = Markup(svg)  # noqa: S704 - numbers of ours
    return found


def _open(id: str, wide: int, high: int, title: str, text: str) -> str:
    return (f'<svg class="chart" viewBox="0 0 {wide} {high}" role="img" aria-labelledby="{id}-title {id}-text">'
            f'<title id="{id}-title">{escape(title)}</title><desc id="{id}-text">{escape(text)}</desc>')  # fmt: skip


def _rounded(most: int) -> int:
    """The top of an axis: the next 1, 2, 5 or 10 times a power of ten."""
    power = 1
    while True:
        for each in (1, 2, 5):
            if each * power >= max(most, 4):
                return each * power
        power *= 10
