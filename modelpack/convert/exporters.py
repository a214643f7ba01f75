"""One function for each framework that can be turned into ONNX.

    (folder of the saved model, the model loaded, samples) ──► onnx.ModelProto

The converters are those of the ONNX project; this says only which one, and with which words, so that
the outputs are called as the adapters call them.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelpack.errors import UsageError
from modelpack.frameworks.lightgbm import LightgbmClassifier, LightgbmModel
from modelpack.frameworks.origin import is_a, library
from modelpack.frameworks.torch import PROGRAM_FILE, SCRIPT_FILE
from modelpack.frameworks.torchgraph import named

Arrays = Mapping[str, Any]
Exporter = Callable[[Path, Any, Arrays], Any]

GRAPH_NAME = "model"


def from_sklearn(folder: Path, model: Any, samples: Arrays) -> Any:  # noqa: ARG001
    """Export an estimator or a pipeline, steps of XGBoost and LightGBM included."""
    skl2onnx = library("skl2onnx")
    _register_boosters(skl2onnx)
    options: Any = None
    if hasattr(model, "predict_proba"):
        last = model.steps[-1][1] if hasattr(model, "steps") else model
        options = {id(last): {"zipmap": False}}
    return skl2onnx.convert_sklearn(
        model, GRAPH_NAME, initial_types=_types(samples), options=options, target_opset=_OPSETS
    )


def from_xgboost(folder: Path, model: Any, samples: Arrays) -> Any:  # noqa: ARG001
    """Export a booster or one of its wrappers."""
    return library("onnxmltools").convert_xgboost(
        model, GRAPH_NAME, initial_types=_types(samples, tools=True), target_opset=_OPSETS[""]
    )


def from_lightgbm(folder: Path, model: Any, samples: Arrays) -> Any:  # noqa: ARG001
    """Export a booster, or what stands for one of its wrappers."""
    if isinstance(model, LightgbmClassifier):
        model = _classifier(model)
    elif isinstance(model, LightgbmModel):
        model = model.booster
    return library("onnxmltools").convert_lightgbm(
        model,
        GRAPH_NAME,
        initial_types=_types(samples, tools=True),
        target_opset=_OPSETS[""],
        zipmap=False,
    )


def from_torch(folder: Path, model: Any, samples: Arrays) -> Any:
    """Export a module or an exported program; the first axis of every input may have any length."""
    torch = library("torch")
    library("onnxscript")  # said here rather than from inside of torch
    if (folder / SCRIPT_FILE).is_file():
        raise UsageError(
            "TorchScript cannot be turned into ONNX any more",
            hint="save the module itself, or torch.export.export(module, (example,))",
        )
    examples = tuple(torch.from_numpy(array[:2]) for array in samples.values())
    if (folder / PROGRAM_FILE).is_file():
        program = torch.export.load(folder / PROGRAM_FILE)
    else:
        rows = torch.export.Dim("batch")
        shapes = tuple({0: rows} for _ in examples)
        program = torch.export.export(model.cpu().eval(), examples, dynamic_shapes=shapes)
    with _quiet("torch.onnx"):  # it names the optional packages that it does not find
        exported = torch.onnx.export(program, input_names=list(samples), dynamo=True, verbose=False)
    proto = exported.model_proto
    names = named(program.module()(*examples))
    for output, name in zip(proto.graph.output, names, strict=False):
        _rename(proto.graph, output, name)
    return proto


EXPORTERS: Mapping[str, Exporter] = {
    "sklearn": from_sklearn,
    "xgboost": from_xgboost,
    "lightgbm": from_lightgbm,
    "torch": from_torch,
}
"""By the name of the adapter."""

TOOLS: Mapping[str, tuple[str, ...]] = {
    "sklearn": ("skl2onnx", "onnx"),
    "xgboost": ("onnxmltools", "onnx"),
    "lightgbm": ("onnxmltools", "onnx"),
    "torch": ("torch", "onnxscript", "onnx"),
}
"""What does the work; their versions are kept with the conversion."""

_OPSETS = {"": 15, "ai.onnx.ml": 3}
"""Old enough for every onnxruntime that modelpack runs on, and known to both converters."""


def _types(samples: Arrays, *, tools: bool = False) -> list[tuple[str, Any]]:
    """Return the inputs as converters take them: numbers are 32-bit in ONNX's trees."""
    home = "onnxmltools.convert.common.data_types" if tools else "skl2onnx.common.data_types"
    kinds = library(home)
    types = []
    for name, array in samples.items():
        word = {"f": "Float", "i": "Int64", "u": "Int64", "b": "Boolean"}.get(array.dtype.kind)
        kind = getattr(kinds, f"{word or 'String'}TensorType")
        types.append((name, kind([None, *array.shape[1:]])))
    return types


def _classifier(model: LightgbmClassifier) -> Any:
    """Return LightGBM's own wrapper around a booster: the converter knows labels by it only."""
    wrapper = library("lightgbm").LGBMClassifier()
    wrapper._Booster = model.booster
    wrapper._classes = model.classes_
    wrapper._n_classes = len(model.classes_)
    wrapper.fitted_ = True
    return wrapper


def _rename(graph: Any, output: Any, name: str) -> None:
    old = output.name
    for node in graph.node:
        node.input[:] = [name if one == old else one for one in node.input]
        node.output[:] = [name if one == old else one for one in node.output]
    output.name = name


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Let a logger say errors only."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _register_boosters(skl2onnx: Any) -> None:
    """Tell skl2onnx how steps of XGBoost and LightGBM are converted, if they are installed."""
    shapes = library("skl2onnx.common.shape_calculator")
    for module, home, names in _BOOSTERS:
        try:
            classes = library(module)
            converter = getattr(library(f"onnxmltools.convert.{home}"), names["function"])
        except ModuleNotFoundError:
            continue
        for kind in ("Classifier", "Regressor"):
            cls = getattr(classes, names["prefix"] + kind)
            shape = getattr(shapes, f"calculate_linear_{kind.lower()}_output_shapes")
            options = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # known already: the second conversion of a process
                skl2onnx.update_registered_converter(
                    cls,
                    cls.__name__,
                    shape,
                    converter,
                    options=options if kind == "Classifier" else None,
                )


_BOOSTERS = (
    (
        "xgboost",
        "xgboost.operator_converters.XGBoost",
        {"prefix": "XGB", "function": "convert_xgboost"},
    ),
    (
        "lightgbm",
        "lightgbm.operator_converters.LightGbm",
        {"prefix": "LGBM", "function": "convert_lightgbm"},
    ),
)


def is_booster(model: Any) -> bool:
    """Say whether it is a bare booster, which answers one array instead of label and probabilities."""
    return is_a(model, "xgboost", "Booster") or is_a(model, "lightgbm", "Booster")
