"""The server that ``bench_server`` measures: a tiny ONNX model, served without any code.

python bench_service.py FOLDER     writes FOLDER/tiny.onnx, serves it, prints its URL
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def write_model(file: Path) -> None:
    """Write a model with one layer: four numbers in, three probabilities out."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper, save

    random = np.random.default_rng(7)
    weights = numpy_helper.from_array(random.normal(size=(4, 3)).astype(np.float32), "w")
    bias = numpy_helper.from_array(random.normal(size=3).astype(np.float32), "b")
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w", "b"], ["z"]),
            helper.make_node("Softmax", ["z"], ["y"], axis=1),
        ],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [weights, bias],
    )
    opset = helper.make_opsetid("", 17)
    save(helper.make_model(graph, opset_imports=[opset], ir_version=9), str(file))


def main(folder: Path) -> int:
    """Serve until SIGTERM."""
    from modelpack.config.settings import ServerSettings
    from modelpack.frameworks.zero import service_from_model
    from modelpack.server import run

    file = folder / "tiny.onnx"
    if not file.exists():
        write_model(file)
    settings = ServerSettings(port=0, log_level="warning")
    return run(service_from_model(file), settings, on_ready=lambda url: print(url, flush=True))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
