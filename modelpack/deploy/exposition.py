"""How deployments are, as text that Prometheus reads.

    statuses ──text_of──► lines, for the textfile collector of a node exporter, or any other

Pure.  A server that sleeps can be asked for no metrics without waking it, so these come from whoever
keeps its port.  Counters begin at 0 when that starts, as counters of Prometheus may.

Source: the text format 0.0.4, prometheus.io/docs/instrumenting/exposition_formats.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from modelpack.deploy.state import State, Status


@dataclass(frozen=True, slots=True)
class _Series:
    """One number of each deployment whose load decides how many replicas there are."""

    name: str
    kind: str
    help: str


_PREFIX = "modelpack_deployment_"
_UP = _Series("up", "gauge", "1 while it is running, asleep or awake.")
_RESTARTS = _Series("restarts", "gauge", "Starts of replicas after they had ended by themselves.")
_AWAKE = _Series("replicas_awake", "gauge", "Replicas whose server runs, or is being started.")
_WANTED = _Series("replicas_wanted", "gauge", "Replicas that there should be.")
_MOST = _Series("replicas_most", "gauge", "Replicas that there can be.")
_IN_FLIGHT = _Series("in_flight", "gauge", "Requests at once, at the last look.")
_COUNTS = {
    "decisions": _Series("decisions_total", "counter", "Decisions about the number of replicas."),
    "changes": _Series("changes_total", "counter", "Decisions for another number, but for none."),
    "wakes": _Series("wakes_total", "counter", "Times that somebody asked while all slept."),
    "sleeps": _Series("sleeps_total", "counter", "Times that the last replica went to sleep."),
    "held": _Series("held_total", "counter", "Connections that waited as it woke."),
}


def text_of(statuses: Iterable[Status]) -> str:
    """Return the metrics of deployments; the same statuses give the same text."""
    found: dict[str, tuple[_Series, list[str]]] = {}
    for status in sorted(statuses, key=lambda one: (one.name, one.target)):
        for series, value in _numbers(status):
            name = f"{_PREFIX}{series.name}"
            labels = f'deployment="{_escaped(status.name)}",target="{_escaped(status.target)}"'
            lines = found.setdefault(name, (series, []))[1]
            lines.append(f"{name}{{{labels}}} {value:g}")
    text = [
        line
        for name, (series, lines) in found.items()
        for line in (f"# HELP {name} {series.help}", f"# TYPE {name} {series.kind}", *lines)
    ]
    return "".join(f"{line}\n" for line in text)


def write(file: Path, text: str) -> None:
    """Put the text in the place of a file, so that nobody ever reads half of it; raises OSError."""
    staged = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        staged.write_text(text, encoding="utf-8")
        staged.chmod(0o644)  # whoever collects them is another user
        staged.replace(file)
    finally:
        staged.unlink(missing_ok=True)


def _numbers(status: Status) -> Iterator[tuple[_Series, float]]:
    yield _UP, float(status.state is State.RUNNING)
    yield _RESTARTS, float(status.restarts)
    replicas = status.replicas
    if replicas is None:
        return
    yield _AWAKE, replicas.awake
    yield _WANTED, replicas.wanted
    yield _MOST, replicas.most
    if replicas.in_flight is not None:
        yield _IN_FLIGHT, replicas.in_flight
    for key, series in _COUNTS.items():
        if key in replicas.counts:
            yield series, replicas.counts[key]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
