"""Draws line charts as SVG by hand: small, sharp, readable in light and in dark.

Panel(title, axes, lines) ... ──draw──► one SVG with the panels in rows and a legend
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 380, 250
LEFT, RIGHT, TOP, BOTTOM = 62, 24, 34, 44
COLOURS = ("#c2571a", "#2166ac", "#5b8c2a", "#8a4f9e")
MARKS = ("circle", "square", "cross", "circle")

STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #24292f }
  .title { font-weight: 600 } .small { font-size: 11px; fill: #57606a }
  .grid { stroke: #d0d7de; stroke-width: 1 } .axis { stroke: #57606a; stroke-width: 1 }
  .line { fill: none; stroke-width: 2; stroke-linejoin: round } .back { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .small { fill: #9198a1 }
    .grid { stroke: #30363d } .axis { stroke: #9198a1 } .back { fill: #0d1117 }
  }
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One series: its points, and whether the last is where it ends for good."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart; both axes are logarithmic where ``log`` says so."""

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    log_x: bool = True
    log_y: bool = True
    bounds_y: tuple[float, float] | None = None


class _Scale:
    """Turns values into places on one axis."""

    def __init__(self, values: Sequence[float], start: float, stop: float, *, is_log: bool) -> None:
        self.is_log = is_log
        low, high = min(values), max(values)
        if is_log:
            self.low, self.high = log10(low), log10(max(high, low * 1.01))
        else:
            self.low, self.high = 0.0, float(high)
        self.start, self.stop = start, stop

    def place(self, value: float) -> float:
        at = log10(value) if self.is_log else value
        at = min(max(at, self.low), self.high)
        return self.start + (at - self.low) / (self.high - self.low) * (self.stop - self.start)

    def ticks(self) -> list[float]:
        """Return round values that are spread well."""
        if self.is_log:
            powers = range(floor(self.low), ceil(self.high) + 1)
            steps = (1, 2, 5) if self.high - self.low < 2.3 else (1,)
            found = [step * 10.0**power for power in powers for step in steps]
            return [v for v in found if self.low - 1e-9 <= log10(v) <= self.high + 1e-9]
        step = 10.0 ** floor(log10(self.high / 3))
        step *= next(m for m in (1, 2, 5, 10) if self.high / (step * m) <= 6)
        return [step * n for n in range(int(self.high / step) + 1)]


def draw(panels: Sequence[Panel], *, columns: int, title: str, note: str) -> str:
    """Return the SVG document."""
    rows = ceil(len(panels) / columns)
    width, height = columns * WIDTH, rows * HEIGHT + 74
    body = [f'<text class="title" x="16" y="22">{escape(title)}</text>']
    names = list(dict.fromkeys(line.name for panel in panels for line in panel.lines))
    body.append(_legend(names, 16, 42))
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        body.append(f'<g transform="translate({column * WIDTH} {row * HEIGHT + 50})">')
        body.append(_panel(panel, names))
        body.append("</g>")
    body.append(f'<text class="small" x="16" y="{height - 8}">{escape(note)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-label="{escape(title)}">\n'
        f"<style>{STYLE}</style>\n"
        f'<rect class="back" width="{width}" height="{height}"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def _legend(names: Sequence[str], x: float, y: float) -> str:
    parts, at = [], x
    for number, name in enumerate(names):
        colour = COLOURS[number]
        parts.append(f'<path class="line" stroke="{colour}" d="M{at:g} {y - 4:g}h22"/>')
        parts.append(_mark(MARKS[number], at + 11, y - 4, colour))
        parts.append(f'<text x="{at + 28:g}" y="{y:g}">{escape(name)}</text>')
        at += 52 + 6.4 * len(name)
    return "\n".join(parts)


def _panel(panel: Panel, names: Sequence[str]) -> str:
    xs = [x for line in panel.lines for x, _ in line.points]
    ys = [y for line in panel.lines for _, y in line.points]
    across = _Scale(xs, LEFT, WIDTH - RIGHT, is_log=panel.log_x)
    up = _Scale(panel.bounds_y or ys, HEIGHT - BOTTOM, TOP, is_log=panel.log_y)
    parts = [f'<text class="title" x="{LEFT}" y="{TOP - 14}">{escape(panel.title)}</text>']
    for value in up.ticks():
        y = up.place(value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(
            f'<text class="small" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
        )
    for value in across.ticks():
        x, foot = across.place(value), HEIGHT - BOTTOM
        parts.append(f'<path class="axis" d="M{x:.1f} {foot}v4"/>')
        parts.append(
            f'<text class="small" x="{x:.1f}" y="{foot + 17}" text-anchor="middle">{value:,g}</text>'
        )
    parts.append(f'<path class="axis" d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>')
    middle, side = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle">{escape(panel.x)}</text>'
    )
    parts.append(
        f'<text transform="translate(15 {side}) rotate(-90)" text-anchor="middle">'
        f"{escape(panel.y)}</text>"
    )
    for line in panel.lines:
        number = names.index(line.name)
        places = [(across.place(x), up.place(y)) for x, y in line.points]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(f'<path class="line" stroke="{COLOURS[number]}" d="M{path}"/>')
        parts.extend(_mark(MARKS[number], x, y, COLOURS[number]) for x, y in places)
    return "\n".join(parts)


def _mark(kind: str, x: float, y: float, colour: str) -> str:
    if kind == "square":
        return f'<rect x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6" fill="{colour}"/>'
    if kind == "cross":
        path = f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"
        return f'<path class="line" stroke="{colour}" d="{path}"/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
