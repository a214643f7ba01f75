"""What one lane of a run measured: figures for people, JSON for programs, slices for comparing.

    slices, tail, ServerShare ──► Result ──to_json──► a saved run ──from_json──► Result

The form of the JSON is ``modelpack-bench/1`` and stands in ``docs/reference/bench.md``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelpack.bench.advice import Advice, Facts, advise
from modelpack.bench.load import Load
from modelpack.bench.scrape import ServerShare
from modelpack.bench.slices import Slice, merged
from modelpack.errors import NotFoundError, UsageError
from modelpack.version import __version__

FORM = "modelpack-bench/1"
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99_9": 99.9}


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """How the generator itself did."""

    cpu: tuple[float, ...] = (0.0,)
    """Share of a processor that each process used."""
    machine_cpu: float | None = None
    """Share of this machine's processors in use; None: the server is elsewhere."""
    processors: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One kind of request to one server under one load."""

    target: Mapping[str, Any]
    """URL, api and so on, as plain JSON values."""
    load: Load
    slices: tuple[Slice, ...]
    """One for each second."""
    tail: Slice = field(default_factory=lambda: Slice(seconds=0.0))
    """What came after the last second; it counts, but not for the rate."""
    server: ServerShare | None = None
    generated: Generated = field(default_factory=Generated)
    started: str = ""
    """Time of the beginning, ISO 8601 in UTC."""
    is_cut: bool = False
    """True when it was interrupted."""
    failure: str = ""
    """The first answer that was not of the 2xx kind, in short."""

    @property
    def label(self) -> str:
        """Name for tables."""
        return str(self.target.get("api") or self.target.get("path") or "")

    @property
    def seconds(self) -> float:
        """How long was counted."""
        return sum(one.seconds for one in self.slices)

    @property
    def whole(self) -> Slice:
        """All of it, tail included; its ``seconds`` are those that were counted."""
        return merged((*self.slices, self.tail))

    @property
    def rate(self) -> float:
        """Good answers in a second, the tail left out."""
        good = sum(one.good for one in self.slices)
        return good / self.seconds if self.seconds else 0.0

    @property
    def rows_rate(self) -> float | None:
        """Rows a second, as the server counted them; None: it does not say."""
        if self.server is None or not self.server.rows:
            return None
        return self.server.rows / self.server.seconds

    @property
    def latency_ms(self) -> dict[str, float]:
        """Percentiles, mean and maximum, in milliseconds."""
        latencies = self.whole.latencies
        found = {name: latencies.at_ms(percent) for name, percent in PERCENTILES.items()}
        return {**found, "max": latencies.max_ms, "mean": latencies.mean_ms}

    @property
    def facts(self) -> Facts:
        """What advice is made from."""
        return Facts(
            whole=self.whole,
            rate=self.rate,
            server=self.server,
            offered_rate=self.load.rate,
            concurrency=self.load.most_open,
            generator_cpu=max(self.generated.cpu),
            machine_cpu=self.generated.machine_cpu,
            processors=self.generated.processors,
        )

    @property
    def advice(self) -> Advice:
        """The one line."""
        return advise(self.facts)

    def to_json(self) -> dict[str, Any]:
        """Return the saved form."""
        whole, advice = self.whole, self.advice
        rows = self.rows_rate
        return {
            "modelpack": __version__,
            "started": self.started,
            "interrupted": self.is_cut,
            "target": dict(self.target),
            "load": self.load.to_json(),
            "seconds": round(self.seconds, 3),
            "requests": {
                "offered": whole.offered,
                "answered": whole.answered,
                "good": whole.good,
                "refused": whole.refusals,
                "failed": whole.failed,
            },
            "statuses": {str(status): n for status, n in sorted(whole.statuses.items())},
            "errors": dict(sorted(whole.errors.items())),
            "rate_per_s": round(self.rate, 2),
            "rows_per_s": None if rows is None else round(rows, 2),
            "latency_ms": {name: round(ms, 3) for name, ms in self.latency_ms.items()},
            "refused_latency_ms": _summary(whole, "refused"),
            "late_ms": _summary(whole, "late"),
            "bytes": {"sent": whole.bytes_out, "received": whole.bytes_in},
            "generator": {
                "cpu": [round(one, 3) for one in self.generated.cpu],
                "clock_late_ms": _summary(whole, "clock_late"),
                "machine_cpu": self.generated.machine_cpu,
                "processors": self.generated.processors,
                "was_limit": self.facts.generator_is_limit,
            },
            "server": None if self.server is None else self.server.to_json(),
            "failure": self.failure or None,
            "advice": {"rule": advice.rule, "text": advice.text},
            "slices": [one.to_json() for one in self.slices],
            "tail": self.tail.to_json(),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Result:
        """Read the saved form; raises ValueError, KeyError or TypeError when it is another."""
        server, generator = plain["server"], plain["generator"]
        return cls(
            target=plain["target"],
            load=Load.from_json(plain["load"]),
            slices=tuple(Slice.from_json(one) for one in plain["slices"]),
            tail=Slice.from_json(plain["tail"]),
            server=None if server is None else ServerShare.from_json(server),
            generated=Generated(
                cpu=tuple(generator["cpu"]),
                machine_cpu=generator["machine_cpu"],
                processors=generator["processors"],
            ),
            started=str(plain["started"]),
            is_cut=bool(plain["interrupted"]),
            failure=str(plain["failure"] or ""),
        )


def _summary(whole: Slice, name: str) -> dict[str, float] | None:
    """Return percentiles of one of the lesser histograms; None when it is empty."""
    latencies = getattr(whole, name)
    if not latencies.counts:
        return None
    return {
        "count": latencies.count,
        "p50": round(latencies.at_ms(50), 3),
        "p99": round(latencies.at_ms(99), 3),
        "max": round(latencies.max_ms, 3),
    }


def save_results(results: Sequence[Result], file: Path) -> None:
    """Write runs to a file that ``load_results`` reads."""
    plain = {"form": FORM, "runs": [one.to_json() for one in results]}
    file.write_text(json.dumps(plain, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load_results(file: Path) -> list[Result]:
    """Read saved runs; raises NotFoundError, or UsageError when the file is something else."""
    try:
        plain = json.loads(file.read_bytes())
        if plain["form"] != FORM:
            raise ValueError(f"its form is '{plain['form']}', not '{FORM}'")
        return [Result.from_json(one) for one in plain["runs"]]
    except FileNotFoundError:
        raise NotFoundError(f"no file '{file}'", hint="--save FILE writes one") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"'{file}' is no saved run: {error}", hint="'modelpack bench --save FILE' writes one"
        ) from None
