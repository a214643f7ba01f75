"""The models of the workloads, as ONNX files with fixed weights.

tiny.onnx   4 floats in, 3 probabilities out                                    W1
mlp.onnx    784-1024-1024-10, with softmax                                      W2
cnn.onnx    an image of 3 x 96 x 96 in, 10 probabilities out; 10 ms and more    W3, hung-up
mid.onnx    one of 3 x 16 x 16, fewer layers; about a millisecond               overload
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

SHAPES: dict[str, tuple[int, ...]] = {
    "tiny": (4,),
    "mlp": (784,),
    "cnn": (3, 96, 96),
    "mid": (3, 16, 16),
}
"""Shape of one row of each model's input ``x``."""


def write_models(folder: Path) -> None:
    """Write the files, unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, write in (("tiny", _tiny), ("mlp", _mlp), ("cnn", _cnn), ("mid", _mid)):
        if not (folder / f"{name}.onnx").exists():
            write(folder / f"{name}.onnx")


def row_of(name: str, rows: int = 1) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return rows of input, the same each time, with six digits as people send them."""
    random = np.random.default_rng(3)
    values = random.random((rows, *SHAPES[name])).astype(np.float32)
    return np.round(values, 6)


def _tiny(file: Path) -> None:
    _save(file, "tiny", _dense([4, 3]))


def _mlp(file: Path) -> None:
    _save(file, "mlp", _dense([784, 1024, 1024, 10]))


def _cnn(file: Path) -> None:
    _convolutions(file, [(64, 1), (96, 1), (128, 2), (128, 1), (160, 2)])


def _mid(file: Path) -> None:
    _convolutions(file, [(64, 1), (128, 1), (128, 1)])


def _convolutions(file: Path, layers: list[tuple[int, int]]) -> None:
    """Write a model of layers with that many channels and that stride."""
    from onnx import helper

    nodes, weights = [], []
    name, channels = "x", 3
    for number, (width, stride) in enumerate(layers):
        kernel = f"k{number}"
        weights.append(_weights(kernel, (width, channels, 3, 3), scale=0.05))
        nodes.append(
            helper.make_node(
                "Conv", [name, kernel], [f"c{number}"],
                kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[stride, stride],
            )
        )  # fmt: skip
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"r{number}"]))
        name, channels = f"r{number}", width
    nodes.append(helper.make_node("GlobalAveragePool", [name], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"], axis=1))
    weights.append(_weights("w", (channels, 10)))
    nodes.append(helper.make_node("MatMul", ["flat", "w"], ["z"]))
    nodes.append(helper.make_node("Softmax", ["z"], ["y"], axis=1))
    _save(file, file.stem, (nodes, weights, 10))


def _dense(widths: list[int]) -> tuple[list[Any], list[Any], int]:
    from onnx import helper

    nodes, weights, name = [], [], "x"
    last = len(widths) - 2
    for number, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        w, b, z = f"w{number}", f"b{number}", f"z{number}"
        weights += [_weights(w, (fan_in, fan_out)), _weights(b, (fan_out,))]
        nodes.append(helper.make_node("Gemm", [name, w, b], [z]))
        name = f"a{number}"
        if number == last:
            nodes.append(helper.make_node("Softmax", [z], ["y"], axis=1))
        else:
            nodes.append(helper.make_node("Relu", [z], [name]))
    return nodes, weights, widths[-1]


def _weights(name: str, shape: tuple[int, ...], scale: float = 0.03) -> Any:
    from onnx import numpy_helper

    random = np.random.default_rng(len(name) + sum(shape))
    return numpy_helper.from_array((random.normal(size=shape) * scale).astype(np.float32), name)


def _save(file: Path, name: str, parts: tuple[list[Any], list[Any], int]) -> None:
    from onnx import TensorProto, helper, save

    nodes, weights, outputs = parts
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *SHAPES[name]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", outputs])],
        weights,
    )
    opsets = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=9), str(file))
