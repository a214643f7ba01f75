"""The layers of the house: which module may import which, and what the runtime never sees."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLCHAIN = {
    "boto3", "cryptography", "docker", "packaging", "pathspec", "platformdirs", "pydantic", "rich", "typer",
    "uv", "yaml",
}  # fmt: skip
TOOLCHAIN_LAYERS = (
    "store",
    "archive",
    "image",
    "bench",
    "deploy",
    "cli",
    "models",
    "embed",
    "testing",
    "trust",
)

# Walks the whole runtime, not only what a server happens to import on its way up.
IMPORT_THE_RUNTIME = """
import importlib, json, pkgutil, sys
import modelpack
import modelpack.errors, modelpack.tag, modelpack.paths, modelpack.manifest, modelpack.progress
import modelpack.config.settings
for layer in ("sdk", "frameworks", "server"):
    package = importlib.import_module(f"modelpack.{layer}")
    for module in pkgutil.walk_packages(package.__path__, f"modelpack.{layer}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
modelpack.service, modelpack.api, modelpack.Tensor, modelpack.Model
print(json.dumps(sorted(sys.modules)))
"""


def test_arrows_between_layers_point_one_way() -> None:
    """The contracts in pyproject.toml hold for every import of every module."""
    contracts = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert contracts.returncode == 0, contracts.stdout


@pytest.fixture(scope="module")
def runtime_modules() -> frozenset[str]:
    """What is loaded in a fresh interpreter after every module of the runtime was imported."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", IMPORT_THE_RUNTIME], capture_output=True, text=True, check=True
    )
    return frozenset(json.loads(done.stdout))


def test_runtime_imports_no_library_of_the_toolchain(runtime_modules: frozenset[str]) -> None:
    assert {name.partition(".")[0] for name in runtime_modules} & TOOLCHAIN == set()


def test_runtime_imports_no_layer_of_the_toolchain(runtime_modules: frozenset[str]) -> None:
    layers = {name.split(".")[1] for name in runtime_modules if name.startswith("modelpack.")}

    assert layers & set(TOOLCHAIN_LAYERS) == set()
    assert {"sdk", "frameworks", "server"} <= layers


def test_importing_modelpack_loads_only_the_standard_library() -> None:
    code = "import sys; had = set(sys.modules); import modelpack; print(*set(sys.modules) - had)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )

    loaded = done.stdout.split()
    foreign = [n for n in loaded if n.partition(".")[0] not in sys.stdlib_module_names]
    assert sorted(foreign) == ["modelpack", "modelpack.version"]


def test_every_layer_of_the_package_stands_in_the_contract() -> None:
    """A new folder has to be placed before it can be imported from anywhere."""
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    placed = {
        name.strip()
        for row in contract["contracts"][0]["layers"]
        for name in row.replace("|", ":").split(":")
    }

    here = {f"modelpack.{path.parent.name}" for path in ROOT.glob("modelpack/*/__init__.py")}
    here |= {f"modelpack.{path.stem}" for path in ROOT.glob("modelpack/[a-z]*.py")}
    assert here == placed
