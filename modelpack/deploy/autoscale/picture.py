"""A replay as a picture: replicas over time, with the requests at once above them.

Replay ──columns──► text_picture   blocks for a terminal
             └────► svg_picture    for a page, with no script and no foreign part
several ───Line────► svg_lines     the same with the replicas of several, to compare them
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from modelpack.deploy.autoscale.replay import Replay

WIDTH, HEIGHT = 72, 8
_LEVELS = "▁▂▃▄▅▆▇█"
_COLOURS = ("#1f5fbf", "#d1721b", "#2a8a4a", "#8a3fa0")


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that is drawn over time."""

    name: str
    points: Sequence[tuple[float, float]]
    """Second and value, by second."""


def text_picture(replay: Replay, *, width: int = WIDTH, height: int = HEIGHT) -> list[str]:
    """Return lines: in-flight requests, replicas as columns, time in seconds below."""
    replicas = columns(replay.replicas, replay.length_s, width)
    busy = columns(replay.in_flight, replay.length_s, width)
    most, busiest = max(*replicas, 1), max(*busy, 1)
    margin = max(len(str(most)), len(str(busiest)))
    marks = "".join(
        _LEVELS[round(one / busiest * (len(_LEVELS) - 1))] if one else " " for one in busy
    )
    lines = [f"{busiest:>{margin}} {marks.rstrip()}  requests at once".rstrip()]
    rows = min(height, most)
    for row in range(rows, 0, -1):
        least = most * (row - 1) / rows
        drawn = "".join("█" if one > least else " " for one in replicas).rstrip()
        label = str(most) if row == rows else ""
        lines.append(f"{label:>{margin}} {drawn}{'  replicas' if row == rows else ''}".rstrip())
    end = f"{replay.length_s:.0f} s"
    lines.append(f"{0:>{margin}} {'─' * width}")
    lines.append(f"{'':>{margin}} 0{end:>{width - 1}}")
    return lines


def svg_picture(replay: Replay, title: str, *, width: int = 720, height: int = 260) -> str:
    """Return an SVG document with the requests at once as a line and the replicas as steps."""
    busy = Line("requests at once", replay.in_flight)
    return svg_lines(
        title, replay.length_s, [Line("replicas", replay.replicas)], busy, (width, height)
    )


def svg_lines(
    title: str,
    length_s: float,
    replicas: Sequence[Line],
    load: Line,
    size: tuple[int, int] = (720, 260),
) -> str:
    """Return an SVG document: one load as a grey line, several counts of replicas as steps.

    Every point of a line is ``(second, value)``.  The counts share one scale, the load has its own;
    steps that coincide stay visible, since each is drawn thinner than the one below it.
    """
    frame = _Frame(size, length_s)
    most = max((count for line in replicas for _, count in line.points), default=1) or 1
    heaviest = max((value for _, value in load.points), default=1) or 1
    key = [(line, _COLOURS[number % len(_COLOURS)]) for number, line in enumerate(replicas)]
    shown = " ".join(frame.place(at, value / heaviest) for at, value in load.points)
    words = [
        (frame.left, 18, "start", "#222222", title),
        (frame.left - 6, frame.top + 4, "end", "#222222", f"{most:g}"),
        (frame.left - 6, frame.foot, "end", "#222222", "0"),
        (frame.left, frame.foot + 16, "start", "#222222", "0 s"),
        (frame.right, frame.foot + 16, "end", "#222222", f"{length_s:.0f} s"),
    ]
    x = frame.left
    for line, colour in [*key, (load, "#777777")]:
        highest = max((value for _, value in line.points), default=0)
        text = f"{line.name} (most {highest:g})"
        words.append((x, frame.foot + 34, "start", colour, text))
        x += 20 + 7 * len(text)
    parts = [
        f"<title>{escape(title)}</title>",
        f'<rect width="{size[0]}" height="{size[1]}" fill="#ffffff"/>',
        f'<path d="M{frame.left},{frame.foot}H{frame.right}" stroke="#888888"/>',
        f'<polyline points="{shown}" fill="none" stroke="#b8b8b8" stroke-width="1.5"/>',
        *(
            f'<polyline points="{frame.steps(line.points, most)}" fill="none" stroke="{colour}"'
            f' stroke-width="{max(2.5 + 2 * (len(key) - 1 - number), 1):g}"/>'
            for number, (line, colour) in enumerate(key)
        ),
        *(
            f'<text x="{x}" y="{y}" text-anchor="{side}" fill="{fill}">{escape(text)}</text>'
            for x, y, side, fill, text in words
        ),
    ]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" role="img"'
        ' font-family="sans-serif" font-size="12">'
    )
    return "\n".join([head, *parts, "</svg>", ""])


class _Frame:
    """Where on the picture a moment and a share of the height are."""

    def __init__(self, size: tuple[int, int], length_s: float) -> None:
        self.left, self.top = 44, 34
        self.right, self.foot = size[0] - 16, size[1] - 40
        self._length_s = max(length_s, 1e-9)

    def place(self, at: float, share: float) -> str:
        x = self.left + (self.right - self.left) * min(at / self._length_s, 1)
        return f"{x:.1f},{self.top + (self.foot - self.top) * (1 - share):.1f}"

    def steps(self, points: Sequence[tuple[float, float]], most: float) -> str:
        """Return the points of a line that stays at each value until the next."""
        ends = [at for at, _ in points[1:]] + [self._length_s]
        places: list[str] = []
        for (at, count), end in zip(points, ends, strict=True):
            places += [self.place(at, count / most), self.place(end, count / most)]
        return " ".join(places)


def columns(series: Sequence[tuple[float, int]], length_s: float, width: int) -> list[int]:
    """Return the largest value of a step series within each of ``width`` equal parts of the time."""
    found = []
    index = 0
    for column in range(width):
        end = length_s * (column + 1) / width
        largest = series[index][1]
        while index + 1 < len(series) and series[index + 1][0] < end:
            index += 1
            largest = max(largest, series[index][1])
        found.append(largest)
    return found
