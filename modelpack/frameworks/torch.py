"""PyTorch, in three forms.

    nn.Module of an importable class ──► weights.safetensors + recipe.json     no code, no pickle
    torch.export.ExportedProgram     ──► model.pt2                             carries code
    torch.jit.ScriptModule           ──► model.pt                              carries code

``recipe.json`` says how the empty module is made: a class, which is checked to be a module's before
it is called, or a function (``options={"factory": "nets:make"}``), which can't be checked and so
counts as code.  Models are loaded for inference, on the device of the replica that loads them.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from modelpack.errors import RefusedError, UsageError
from modelpack.frameworks import torchgraph
from modelpack.frameworks.base import Arrays, Saved
from modelpack.frameworks.origin import is_a, library, pinned
from modelpack.manifest import canonical_json
from modelpack.sdk.placement import device

WEIGHTS_FILE = "weights.safetensors"
RECIPE_FILE = "recipe.json"
PROGRAM_FILE = "model.pt2"
SCRIPT_FILE = "model.pt"

_NO_CLASS_HINT = (
    "move it into a module that the service packs, or save torch.export.export(model, (example,))"
)


class TorchFramework:
    """Saves and loads modules, exported programs and TorchScript."""

    name: ClassVar[str] = "torch"
    carries_code: ClassVar[bool] = False

    def recognises(self, model: object) -> bool:
        """Take a module, an exported program or a script."""
        return is_a(model, "torch", "Module", "ExportedProgram", "ScriptModule", "ScriptFunction")

    def save(
        self,
        model: Any,
        folder: Path,
        *,
        factory: str | None = None,
        arguments: dict[str, Any] | None = None,
    ) -> Saved:
        """Write the model in the form that belongs to it.

        factory    ``module:name`` of the class or function that makes the empty module; default:
                   the model's own class
        arguments  JSON values that it is called with, by name; default: none
        """
        torch = library("torch")
        if is_a(model, "torch", "ExportedProgram"):
            torch.export.save(model, folder / PROGRAM_FILE)
            inputs, outputs = torchgraph.signature(model)
            needs = pinned("torch", "numpy")
            return Saved(requirements=needs, inputs=inputs, outputs=outputs)
        if is_a(model, "torch", "ScriptModule", "ScriptFunction"):
            torch.jit.save(model, str(folder / SCRIPT_FILE))
            return Saved(requirements=pinned("torch", "numpy"))
        recipe = _recipe(model, factory, arguments or {})
        same = torchgraph.write_weights(model, folder / WEIGHTS_FILE)
        (folder / RECIPE_FILE).write_bytes(canonical_json({**recipe, "same": same}))
        try:
            self.load(folder)
        except (RuntimeError, TypeError) as cause:
            said = str(cause).strip().splitlines()[-1].strip()[:160]
            raise UsageError(
                f"what '{recipe.get('class') or recipe.get('factory')}' makes is not this model: {said}",
                hint="say how it is made: options={'arguments': {...}}",
            ) from cause
        return Saved(requirements=pinned("torch", "safetensors", "numpy"))

    def finds_code(self, folder: Path) -> bool:
        """Say whether it is a program, a script, or a recipe that names a function."""
        # As ``load`` looks: a recipe beside a program does not make the program harmless.
        if any((folder / name).exists() for name in (PROGRAM_FILE, SCRIPT_FILE)):
            return True
        file = folder / RECIPE_FILE
        return not file.is_file() or "factory" in json.loads(file.read_bytes())

    def load(self, folder: Path) -> Any:
        """Return the model, in evaluation mode where it has one."""
        torch, where = library("torch"), device()
        if (folder / PROGRAM_FILE).is_file():
            program = torch.export.load(folder / PROGRAM_FILE)
            return torchgraph.on_device(program, where).module()
        if (folder / SCRIPT_FILE).is_file():
            return torch.jit.load(str(folder / SCRIPT_FILE), map_location=where)
        recipe = json.loads((folder / RECIPE_FILE).read_bytes())
        model = _made(recipe)
        weights = torchgraph.read_weights(folder / WEIGHTS_FILE, recipe["same"])
        model.load_state_dict(weights)
        return model.to(where).eval()

    def predict(self, model: Any, inputs: Arrays) -> Arrays:
        """Return the outputs for arrays that are given in the order of the inputs."""
        torch = library("torch")
        if is_a(model, "torch", "ExportedProgram"):
            model = model.module()
        where = next((p.device for p in getattr(model, "parameters", list)()), "cpu")
        was_training = getattr(model, "training", False)
        # An exported program refuses to be told: it has no mode.
        can_switch = was_training and not is_a(model, "torch", "GraphModule")
        if can_switch:
            model.eval()
        try:
            with torch.no_grad():
                found = model(*(torch.from_numpy(array).to(where) for array in inputs.values()))
        finally:
            if can_switch:
                model.train()
        return torchgraph.named(found)


def _recipe(model: Any, factory: str | None, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return how the empty module is made: ``{"class" or "factory": path, "arguments": {...}}``."""
    path = factory or _class_path(model)
    try:
        canonical_json(arguments)
        kind = "class" if _is_module_class(_find(path)) else "factory"
    except (TypeError, ValueError) as cause:
        raise UsageError(
            f"the arguments of '{path}' are no JSON values: {cause}",
            hint="name a function that knows them: options={'factory': 'nets:make'}",
        ) from cause
    except (ImportError, AttributeError) as cause:
        raise UsageError(f"'{path}' cannot be imported: {cause}", hint=_NO_CLASS_HINT) from cause
    return {kind: path, "arguments": arguments}


def _made(recipe: dict[str, Any]) -> Any:
    """Return the empty module; raises RefusedError for a class that is none."""
    path = str(recipe.get("factory") or recipe.get("class"))
    maker = _find(path)
    if "factory" not in recipe and not _is_module_class(maker):
        raise RefusedError(
            f"the model is made by '{path}', which is no class of torch modules",
            hint="save it again, or do not trust where it came from",
        )
    return maker(**recipe["arguments"])


def _class_path(model: Any) -> str:
    cls = type(model)
    path = f"{cls.__module__}:{cls.__qualname__}"
    if cls.__module__ == "__main__" or "<" in path:
        raise UsageError(
            f"the class '{cls.__qualname__}' of the model cannot be imported by others",
            hint=_NO_CLASS_HINT,
        )
    return path


def _find(path: str) -> Any:
    module, _, names = path.partition(":")
    found: Any = import_module(module)
    for name in names.split("."):
        found = getattr(found, name)
    return found


def _is_module_class(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, library("torch").nn.Module)
