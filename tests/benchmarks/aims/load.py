"""Load: wrk for what a server costs, the open loop of ``modelpack bench`` for what clients see.

Request ──wrk (a Lua file with it)──► Round: µs of the server's processor time for each request
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

from aims.machine import Pins, Tree
from aims.models import row_of

JSON = "application/json"
BINARY = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Request:
    """One kind of request."""

    path: str
    body: bytes = b""
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"

    def lua(self, body_file: Path) -> str:
        """Return the script that makes wrk send it."""
        lines = [f'wrk.method = "{self.method}"']
        if self.method == "POST":
            lines.append(f'wrk.headers["Content-Type"] = "{self.content_type}"')
            lines.append(f'wrk.body = io.open("{body_file}", "rb"):read("*a")')
        lines += [f'wrk.headers["{name}"] = "{value}"' for name, value in self.headers.items()]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Round:
    """One measurement of one server."""

    cpu_us: float
    """Processor time of the server's whole process tree for each request."""
    per_second: float
    p50_ms: float
    p99_ms: float
    failed: int


def json_request(path: str, model: str | None, *, key: str = "x") -> Request:
    """Return a request with one row of the model as JSON; None: four floats without batch."""
    value = [5.1, 3.5, 1.4, 0.2] if model is None else as_list(row_of(model))
    return Request(path, json.dumps({key: value}, separators=(",", ":")).encode())


def binary_request(path: str, model: str) -> Request:
    """Return a request with one row of the model as bytes, in our native form."""
    row = row_of(model)
    shape = ",".join(map(str, row.shape))
    headers = {"Modelpack-Dtype": "float32", "Modelpack-Shape": shape}
    return Request(path, row.tobytes(), BINARY, headers)


def as_list(rows: np.ndarray) -> list[object]:  # type: ignore[type-arg]
    """Return rows as Python numbers that are written with at most six digits."""
    return json.loads(json.dumps(np.round(rows.astype(float), 6).tolist()))  # type: ignore[no-any-return]


def wrk(
    url: str, request: Request, tree: Tree, pins: Pins, *, connections: int, seconds: float
) -> Round:
    """Load a server for a while, in whole seconds: wrk knows no others."""
    with tempfile.TemporaryDirectory() as name:
        body, script = Path(name) / "body", Path(name) / "request.lua"
        body.write_bytes(request.body)
        script.write_text(request.lua(body))
        words = [*pins.load, "wrk", "-t1", f"-c{connections}", f"-d{max(round(seconds), 1)}s", "--latency",
                 "--timeout", "20s", "-s", str(script), url + request.path]  # fmt: skip
        before = tree.cpu_s()
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        used = tree.cpu_s() - before
    return _round(said, used)


def _round(said: str, used_s: float) -> Round:
    done, took, unit = re.search(r"(\d+) requests in ([\d.]+)(s|ms|m)", said).groups()  # type: ignore[union-attr]
    count = max(int(done), 1)
    failed = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", said)))
    for counts in re.findall(r"Socket errors: (.*)", said):
        failed += sum(map(int, re.findall(r"\d+", counts)))
    return Round(
        cpu_us=used_s / count * 1e6,
        per_second=count / (float(took) * {"s": 1, "ms": 0.001, "m": 60}[unit]),
        p50_ms=_percentile(said, 50),
        p99_ms=_percentile(said, 99),
        failed=failed,
    )


def _percentile(said: str, percent: int) -> float:
    value, unit = re.search(rf"\b{percent}%\s+([\d.]+)(us|ms|s|m)", said).groups()  # type: ignore[union-attr]
    return float(value) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}[unit]


def middle(rounds: list[Round]) -> Round:
    """Return the medians of several rounds, and all of their failures."""
    return Round(
        *(median(getattr(one, name) for one in rounds)
          for name in ("cpu_us", "per_second", "p50_ms", "p99_ms")),
        failed=sum(one.failed for one in rounds),
    )  # fmt: skip
