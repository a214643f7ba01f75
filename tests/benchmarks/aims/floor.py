"""What a model costs without any server: onnxruntime in a process of its own, one thread.

python floor.py MODEL.onnx ROW.npy SECONDS 1,2,4     prints {"1": [cpu µs, wall µs], …} for a row
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
SIZES = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one row, in µs."""

    cpu_us: float
    wall_us: float


def best_cost(
    model: Path, row: Path, pin: Sequence[str], *, seconds: float, sizes: Sequence[int] = SIZES
) -> Cost:
    """Return what a row costs at the batch size at which it costs least; runs for ``seconds``."""
    words = [*pin, sys.executable, __file__, str(model), str(row), f"{seconds:g}",
             ",".join(map(str, sizes))]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    costs = [Cost(*pair) for pair in json.loads(done.stdout).values()]
    return Cost(min(one.cpu_us for one in costs), min(one.wall_us for one in costs))


def _measure(
    model: str, row: str, seconds: float, sizes: Sequence[int]
) -> dict[int, tuple[float, float]]:
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    one = np.load(row)
    costs = {}
    for size in sizes:
        batch = np.ascontiguousarray(np.repeat(one[:1], size, axis=0))
        session.run(None, {"x": batch})
        rows, used, began = 0, process_time(), perf_counter()
        while perf_counter() - began < seconds / len(sizes):
            for _ in range(4):
                session.run(None, {"x": batch})
            rows += 4 * size
        costs[size] = (
            (process_time() - used) / rows * 1e6,
            (perf_counter() - began) / rows * 1e6,
        )
    return costs


if __name__ == "__main__":
    chosen = [int(size) for size in sys.argv[4].split(",")]
    print(json.dumps(_measure(sys.argv[1], sys.argv[2], float(sys.argv[3]), chosen)))
