"""The servers that ``draw_batching`` measures: one ONNX model, batched in one of several ways.

python batching_service.py FOLDER MODEL WAY     serves a model without code, prints its URL

MODEL   tiny: 4 numbers in, 3 out; mlp: 784-1024-1024-10; wide: 784-4096-4096-10
WAY     none: every request by itself; ours: the defaults; window: batches of 32 or of 5 ms
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

MODELS = {"tiny": (4, 3), "mlp": (784, 1024, 1024, 10), "wide": (784, 4096, 4096, 10)}
WINDOW_MS = 5.0


def write_model(file: Path, sizes: tuple[int, ...]) -> None:
    """Write a network of full layers with random weights."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper, save

    random = np.random.default_rng(7)
    nodes, weights, value = [], [], "x"
    for number, (wide, narrow) in enumerate(pairwise(sizes), 1):
        is_last = number == len(sizes) - 1
        scaled = random.normal(size=(wide, narrow)) / np.sqrt(wide)
        weights.append(numpy_helper.from_array(scaled.astype(np.float32), f"w{number}"))
        weights.append(numpy_helper.from_array(np.zeros(narrow, np.float32), f"b{number}"))
        sums = "y" if is_last else f"sum{number}"
        nodes.append(helper.make_node("Gemm", [value, f"w{number}", f"b{number}"], [sums]))
        if not is_last:
            value = f"layer{number}"
            nodes.append(helper.make_node("Relu", [sums], [value]))
    graph = helper.make_graph(
        nodes,
        file.stem,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", sizes[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", sizes[-1]])],
        weights,
    )
    opset = helper.make_opsetid("", 17)
    save(helper.make_model(graph, opset_imports=[opset], ir_version=9), str(file))


def main(folder: Path, model: str, way: str) -> int:
    """Serve until SIGTERM."""
    from modelpack.config.settings import BatchConfig, ServerSettings
    from modelpack.frameworks.zero import service_from_model
    from modelpack.server import run

    file = folder / f"{model}.onnx"
    if not file.exists():
        write_model(file, MODELS[model])
    ways = {
        "none": None,
        "ours": BatchConfig(),
        "window": BatchConfig(max_wait_ms=WINDOW_MS),
    }
    spec = service_from_model(file)
    spec = replace(spec, apis=tuple(replace(api, batch=ways[way]) for api in spec.apis))
    settings = ServerSettings(port=0, log_level="warning")
    return run(spec, settings, on_ready=lambda url: print(url, flush=True))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
