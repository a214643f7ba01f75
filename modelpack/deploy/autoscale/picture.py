"""A replay as a picture: replicas over time, with the requests at once above them.

Replay ──columns──► text_picture   blocks for a terminal
             └────► svg_picture    for a page, with no script and no foreign part
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from modelpack.deploy.autoscale.replay import Replay

WIDTH, HEIGHT = 72, 8
_LEVELS = "▁▂▃▄▅▆▇█"


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
    left, top, inner_w, inner_h = 44, 34, width - 60, height - 74
    most = max(*(count for _, count in replay.replicas), 1)
    busiest = max(*(count for _, count in replay.in_flight), 1)

    def place(at: float, share: float) -> str:
        x = left + inner_w * at / max(replay.length_s, 1e-9)
        return f"{x:.1f},{top + inner_h * (1 - share):.1f}"

    steps: list[str] = []
    ends = [at for at, _ in replay.replicas[1:]] + [replay.length_s]
    for (at, count), end in zip(replay.replicas, ends, strict=True):
        steps += [place(at, count / most), place(end, count / most)]
    line = " ".join(place(at, count / busiest) for at, count in replay.in_flight)
    right, foot = left + inner_w, top + inner_h
    words = (
        (left, 18, "start", "#222222", title),
        (left - 6, top + 4, "end", "#1f5fbf", str(most)),
        (left - 6, foot, "end", "#222222", "0"),
        (left, foot + 16, "start", "#222222", "0 s"),
        (right, foot + 16, "end", "#222222", f"{replay.length_s:.0f} s"),
        (left, foot + 34, "start", "#1f5fbf", f"replicas (most {most})"),
        (left + 180, foot + 34, "start", "#777777", f"requests at once (most {busiest})"),
    )
    parts = [
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<path d="M{left},{foot}H{right}" stroke="#888888"/>',
        f'<polyline points="{line}" fill="none" stroke="#b8b8b8" stroke-width="1.5"/>',
        f'<polyline points="{" ".join(steps)}" fill="none" stroke="#1f5fbf" stroke-width="2.5"/>',
        *(
            f'<text x="{x}" y="{y}" text-anchor="{side}" fill="{fill}">{escape(text)}</text>'
            for x, y, side, fill, text in words
        ),
    ]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"'
        ' font-family="sans-serif" font-size="12">'
    )
    return "\n".join([head, *parts, "</svg>", ""])


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
