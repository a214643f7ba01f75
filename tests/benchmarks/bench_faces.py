"""What a request costs through the contracts of other servers, beside the native JSON route.

    python tests/benchmarks/bench_faces.py [--rounds 3] [--seconds 2]

One server, one process, its own processor; all ways are loaded in turns, A B A B, by 32 connections.
The model is next to nothing, so that what is measured is reading, queueing and writing: ``narrow``
takes 4 floats and ``wide`` 784, as JSON with six digits or as bytes.  The result is the processor time
of the server for each request, in microseconds, the median of the rounds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from statistics import median

from aims.load import BINARY, Request, as_list, json_request, wrk
from aims.machine import pins
from aims.models import row_of
from aims.serving import our_server

SERVICE = """\
import modelpack


@modelpack.service
class Near:
    @modelpack.api(batch=True)
    def narrow(
        self, x: modelpack.Tensor["float32", "batch", 4]
    ) -> modelpack.Tensor["float32", "batch", 3]:
        return x[:, :3]

    @modelpack.api(batch=True)
    def wide(
        self, x: modelpack.Tensor["float32", "batch", 784]
    ) -> modelpack.Tensor["float32", "batch", 10]:
        return x[:, :10]
"""

NATIVE = "native JSON"
OIP_JSON, OIP_BINARY = "OIP JSON", "OIP binary"
KSERVE = "KServe v1 JSON"

Costs = dict[str, dict[str, float]]
"""Microseconds by api, then by way."""


def ways(model: str) -> Mapping[str, Request]:
    """Return one request for each way to an api; the body is the same row."""
    api = {"tiny": "narrow", "mlp": "wide"}[model]
    name = "near" if api == "narrow" else "near.wide"
    row = row_of(model)
    tensor = {"name": "x", "shape": list(row.shape), "datatype": "FP32"}
    (flat,) = as_list(row)
    text = _json({"inputs": [{**tensor, "data": flat}]})
    head = _json(
        {
            "inputs": [{**tensor, "parameters": {"binary_data_size": row.nbytes}}],
            "parameters": {"binary_data_output": True},
        }
    )
    path = f"/v2/models/{name}/infer"
    length = {"Inference-Header-Content-Length": str(len(head))}
    return {
        NATIVE: json_request(f"/{api}", model),
        OIP_JSON: Request(path, text),
        OIP_BINARY: Request(path, head + row.tobytes(), BINARY, length),
        KSERVE: Request(f"/v1/models/{name}:predict", _json({"instances": as_list(row)})),
    }


def compare(rounds: int = 3, seconds: float = 2.0, only: Collection[str] = ()) -> Costs:
    """Measure all ways to both apis, or some; raises RuntimeError when a request failed."""
    machine = pins()
    with tempfile.TemporaryDirectory(prefix="bench-faces-") as name:
        folder = Path(name)
        (folder / "service.py").write_text(SERVICE)
        found: dict[tuple[str, str], list[float]] = {}
        with our_server(folder, machine, cwd=folder) as server:
            for number in range(rounds + 1):  # the first one warms up
                for model in ("tiny", "mlp"):
                    for way, request in ways(model).items():
                        if only and way not in only:
                            continue
                        one = wrk(
                            server.url, request, server.tree, machine,
                            connections=32, seconds=1 if number == 0 else seconds,
                        )  # fmt: skip
                        if one.failed:
                            raise RuntimeError(f"{way}: {one.failed} requests failed")
                        if number:
                            found.setdefault((model, way), []).append(one.cpu_us)
    costs: Costs = {}
    for (model, way), values in found.items():
        costs.setdefault(model, {})[way] = median(values)
    return costs


def report(costs: Costs) -> str:
    """Return the costs as a Markdown table."""
    lines = ["| floats | way | µs a request | of native JSON |", "| --- | --- | --- | --- |"]
    for model, by_way in costs.items():
        floats = row_of(model).size
        for way, cost in by_way.items():
            share = cost / by_way[NATIVE]
            lines.append(f"| {floats} | {way} | {cost:.1f} | {share:.2f} |")
    return "\n".join(lines)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    print(report(compare(options.rounds, options.seconds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
