"""Weights and graphs of PyTorch models: what ``torch`` needs to know of their insides.

state dict ──write_weights──► .safetensors, each tensor once,  + {name: name that has its tensor}
ExportedProgram ──signature──► inputs, outputs                  an axis of any length is null
answer of a module ──named──► {"output": array}, or one name each
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelpack.errors import UsageError
from modelpack.frameworks.base import Arrays, tensor
from modelpack.frameworks.origin import library


def write_weights(model: Any, file: Path) -> dict[str, str]:
    """Write the state dict and return which names share a tensor with another name.

    Raises UsageError for a module that keeps something else than tensors in its state.
    """
    torch = library("torch")
    kept: dict[str, Any] = {}
    same: dict[str, str] = {}
    homes: dict[tuple[object, ...], str] = {}
    for name, value in sorted(model.state_dict().items()):
        if not isinstance(value, torch.Tensor):
            raise UsageError(
                f"the module keeps '{name}' in its state, which is no tensor",
                hint="save torch.export.export(model, (example,)) instead",
            )
        place = (value.data_ptr(), tuple(value.shape), value.stride(), value.dtype)
        if value.numel() and place in homes:
            same[name] = homes[place]
            continue
        homes[place] = name
        # A copy of its own: safetensors refuses tensors that look into one storage.
        kept[name] = value.detach().cpu().contiguous().clone()
    library("safetensors.torch").save_file(kept, file)
    return same


def read_weights(file: Path, same: Mapping[str, str]) -> dict[str, Any]:
    """Return the state dict that ``write_weights`` wrote."""
    weights: dict[str, Any] = library("safetensors.torch").load_file(file)
    return weights | {name: weights[home] for name, home in same.items()}


def signature(program: Any) -> tuple[tuple[Arrays, ...], tuple[Arrays, ...]]:
    """Return inputs and outputs of an exported program."""
    wanted = list(program.graph_signature.user_inputs)
    nodes = {node.name: node for node in program.graph.nodes}
    inputs = [_entry(name, nodes[name].meta.get("val")) for name in wanted if name in nodes]
    outputs = [nodes[name] for name in program.graph_signature.user_outputs if name in nodes]
    names = output_names(len(outputs))
    found = [_entry(name, node.meta.get("val")) for name, node in zip(names, outputs, strict=True)]
    return tuple(filter(None, inputs)), tuple(filter(None, found))


def named(found: Any) -> dict[str, Any]:
    """Return the answer of a module as arrays by name: keys, else ``output``, ``output_1`` ..."""
    if isinstance(found, Mapping):
        return {str(name): _array(value) for name, value in found.items() if _is_tensor(value)}
    values: Sequence[Any] = found if isinstance(found, list | tuple) else (found,)
    arrays = [_array(value) for value in values if _is_tensor(value)]
    return dict(zip(output_names(len(arrays)), arrays, strict=True))


def output_names(count: int) -> list[str]:
    """Return names for outputs that have none."""
    return ["output" if number == 0 else f"output_{number}" for number in range(count)]


def on_device(program: Any, where: str) -> Any:
    """Return an exported program whose weights lie on that device."""
    if where == "cpu":
        return program
    return library("torch.export.passes").move_to_device_pass(program, where)


def _entry(name: str, value: Any) -> Arrays | None:
    """Return the entry of a tensor that was only described; None for another value."""
    if not hasattr(value, "dtype") or not hasattr(value, "shape"):
        return None
    shape = [size if isinstance(size, int) else None for size in value.shape]
    return tensor(name, str(value.dtype).removeprefix("torch."), shape)


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "detach")


def _array(value: Any) -> Any:
    return value.detach().cpu().numpy()
