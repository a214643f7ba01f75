"""Writes the page about the server, so that it cannot differ from the code.

    ServerSettings, BatchConfig ──fields──┐
    metrics.FAMILIES, release.REASONS ────┼──► docs/reference/server.md
    Problem(...) in modelpack/server ─────┘

``python scripts/server_reference.py > docs/reference/server.md`` writes it anew; a test keeps the
two equal.  Why a request is answered with which problem stands in ``docs/reference/http.md``, by
hand, and is taken from there.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, fields
from pathlib import Path

from modelpack.config.schema import field_docs, for_people
from modelpack.config.serving import BatchConfig, ServerSettings
from modelpack.config.settings import variable_of
from modelpack.server.batching.release import REASONS
from modelpack.server.observe.metrics import FAMILIES
from modelpack.server.observe.stats import BATCH_BOUNDS, LATENCY_BOUNDS_S

ROOT = Path(__file__).parents[1]

TOP = """\
# The server

Every setting, metric and status of the server, the same for `modelpack serve`, in an image and at every target. What goes
over the wire is in [HTTP](http.md), how to watch it in [Monitor a service](../how-to/monitor.md).

## Settings

In the section `server` of `modelpack.yaml`, or as a variable; [which one wins](configuration.md#what-wins) and how they are
written is on the page of the configuration. Sizes are in bytes, times in seconds.
"""

BATCHING = """\
## Settings of an api

Parameters of `@modelpack.api`, each for one api; `batch=True` turns batching on.
"""

METRICS = """\
## Metrics

On `/metrics`, in the Prometheus text form, or as OpenMetrics for a scraper that prefers it. With `metrics_port` they are on a port
of their own. Several processes show one page; counters go on when one of them is lost or the service is swapped.
"""

WORDS = """\
A bucket of a histogram counts what is at most its bound. Bounds of times, in seconds: {bounds}. Bounds of rows: {rows}.

A batch is let go for one of these reasons: {reasons}. The reason of a refused or failed request is the code of its problem.
"""

STATUSES = """\
## Statuses

200 is the answer of the api. Everything else is `application/problem+json` with one of these codes. In the metrics 499
stands for a client that left before its answer; nobody is sent it.
"""


def page() -> str:
    """Return the page as Markdown."""
    parts = [
        TOP,
        table(["setting", "variable", "default", "meaning"], settings()),
        BATCHING,
        table(["parameter", "default", "meaning"], parameters()),
        METRICS,
        table(["name", "kind", "labels", "meaning"], metrics()),
        WORDS.format(
            bounds=", ".join(f"{bound:g}" for bound in LATENCY_BOUNDS_S),
            rows=", ".join(map(str, BATCH_BOUNDS)),
            reasons=", ".join(f"`{reason}`" for reason in REASONS),
        ),
        STATUSES,
        table(["status", "code", "title", "why"], statuses()),
    ]
    return "\n".join(parts).rstrip() + "\n"


def settings() -> Iterator[list[str]]:
    """Yield a row for every setting of the server."""
    docs = field_docs(ServerSettings)
    for item in fields(ServerSettings):
        variable = f"`{variable_of(item.name)}`"
        yield [f"`{item.name}`", variable, shown(item.default), for_people(docs[item.name])]


def parameters() -> Iterator[list[str]]:
    """Yield a row for every setting of the batching of one api."""
    docs = field_docs(BatchConfig)
    for item in fields(BatchConfig):
        yield [f"`{item.name}`", shown(item.default), for_people(docs[item.name])]


def metrics() -> Iterator[list[str]]:
    """Yield a row for every metric."""
    for family in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        yield [f"`{family.name}`", family.kind, labels, family.doc]


def statuses() -> Iterator[list[str]]:
    """Yield a row for every problem that the server makes, by status and code."""
    http = (ROOT / "docs" / "reference" / "http.md").read_text()
    whys: dict[str, list[str]] = {}
    for code, why in re.findall(r"^\| \d{3} \| `([a-z-]+)` \| (.+) \|$", http, flags=re.MULTILINE):
        whys.setdefault(code, []).append(why)
    source = "\n".join(
        path.read_text() for path in sorted((ROOT / "modelpack" / "server").rglob("*.py"))
    )
    made = re.findall(r'\(\s*(\d{3}),\s*"([a-z-]+)",\s*"([^"]+)"', source)
    for status, code, title in sorted(set(made)):
        why = "; ".join(whys.get(code, ()))  # a test of that page tells of a row that it lacks
        yield [status, f"`{code}`", title, why]


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def shown(default: object) -> str:
    """Return a default as people write it."""
    if default is None or default is MISSING:
        return "not set"
    if default == ():
        return "none"
    if isinstance(default, float) and default.is_integer():
        default = int(default)
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


if __name__ == "__main__":
    sys.stdout.write(page())
