"""What a model's files say of themselves, without their framework: code in them, links, classes."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from modelpack.errors import RefusedError, StoreError
from modelpack.frameworks.catalog import brings_code, framework, framework_of
from modelpack.frameworks.folders import copy_folder, read_class, write_class
from modelpack.frameworks.origin import plain_requirements, requirement_name

LAYER = {"module": "keras.layers", "class_name": "Dense", "registered_name": None, "config": {}}


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        file = folder / name.replace("__", "/").replace("_dot_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"MLmodel": ""}, "mlflow"),
        ({"saved_model_dot_pb": ""}, "tensorflow"),
        ({"config_dot_cfg": "", "meta_dot_json": "{}"}, "spacy"),
        ({"config_dot_json": '{"architectures": ["BertModel"]}'}, "transformers"),
    ],
)
def test_a_folder_is_recognised_by_what_lies_in_it(
    files: dict[str, str], name: str, tmp_path: Path
) -> None:
    assert framework_of(write(tmp_path, **files)).name == name
    assert framework_of(str(tmp_path)).name == name


@pytest.mark.parametrize(("file", "name"), [("m.keras", "keras"), ("m.cbm", "catboost")])
def test_a_file_is_recognised_by_its_name(file: str, name: str) -> None:
    assert framework_of(Path(file)).name == name


def test_a_link_in_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "weights").symlink_to("/etc/passwd")
    with pytest.raises(RefusedError):
        copy_folder(tmp_path / "saved", tmp_path / "copy")


def test_litter_is_not_copied(tmp_path: Path) -> None:
    write(tmp_path / "saved", weights="w", sub__more="m")
    write(tmp_path / "saved" / "__pycache__", more_dot_pyc="")
    write(tmp_path / "saved" / ".git", HEAD="ref")
    copy_folder(tmp_path / "saved", tmp_path / "copy")
    found = {p.relative_to(tmp_path / "copy").as_posix() for p in (tmp_path / "copy").rglob("*")}
    assert found == {"weights", "sub", "sub/more"}


def test_only_known_classes_are_read(tmp_path: Path) -> None:
    assert read_class(tmp_path, {"Known"}) is None
    write_class(tmp_path, "Known")
    assert read_class(tmp_path, {"Known"}) == "Known"
    with pytest.raises(StoreError):
        read_class(tmp_path, {"Other"})


@pytest.mark.parametrize(
    ("layer", "is_code"),
    [
        (LAYER, False),
        ({**LAYER, "registered_name": "Dense"}, False),
        ({**LAYER, "class_name": "Lambda"}, True),
        ({**LAYER, "config": {"function": {"class_name": "__lambda__", "config": {}}}}, True),
        ({**LAYER, "module": "mine.layers"}, True),
        ({**LAYER, "module": "builtins", "class_name": "function"}, True),
        ({**LAYER, "registered_name": "mine>Dense"}, True),
    ],
)
def test_code_in_a_keras_file_is_found(
    layer: dict[str, Any], is_code: bool, tmp_path: Path
) -> None:
    config = {"class_name": "Sequential", "module": "keras", "config": {"layers": [layer]}}
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    assert brings_code(framework("keras"), tmp_path) is is_code


@pytest.mark.parametrize(
    ("name", "text", "is_code"),
    [
        ("model.safetensors", "", False),
        ("tokenizer.json", "{}", False),
        ("pytorch_model.bin", "", True),
        ("modeling_mine.py", "", True),
        ("tokenizer_config.json", '{"auto_map": {}}', True),
    ],
)
def test_code_in_a_folder_of_transformers_is_found(
    name: str, text: str, is_code: bool, tmp_path: Path
) -> None:
    write(tmp_path / "model", config_dot_json="{}")
    (tmp_path / "model" / name).write_text(text)
    assert brings_code(framework("transformers"), tmp_path) is is_code


def test_a_recipe_that_names_a_function_counts_as_code(tmp_path: Path) -> None:
    """A class is checked before it is called; a function, such as os.system, cannot be."""
    for key, is_code in (("class", False), ("factory", True)):
        recipe = {key: "os:system", "arguments": {"command": "true"}, "same": {}}
        (tmp_path / "recipe.json").write_text(json.dumps(recipe))
        assert brings_code(framework("torch"), tmp_path) is is_code


@pytest.mark.parametrize("name", ["model.pt", "model.pt2"])
def test_a_harmless_recipe_does_not_hide_a_program(name: str, tmp_path: Path) -> None:
    recipe = {"class": "torch.nn:Linear", "arguments": {}, "same": {}}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    assert not brings_code(framework("torch"), tmp_path)
    (tmp_path / name).write_bytes(b"")
    assert brings_code(framework("torch"), tmp_path)


def test_lines_that_are_no_plain_requirements_are_left_out() -> None:
    lines = [
        "numpy==2.1",
        "scikit-learn >= 1.5  # for the model",
        "lib[extra]~=1.0",
        "# nothing",
        "",
        "-r more.txt",
        "--index-url https://example.org/simple",
        "lib @ https://example.org/lib.whl",
        "git+https://example.org/lib",
        "/home/me/lib.whl",
    ]
    found = list(plain_requirements(lines))
    assert found == ["numpy==2.1", "scikit-learn>=1.5", "lib[extra]~=1.0"]
    assert [requirement_name(line) for line in found] == ["numpy", "scikit-learn", "lib"]


@pytest.mark.parametrize("path", ["os:system", "pathlib:Path", "subprocess:Popen"])
def test_a_recipe_makes_nothing_but_modules(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The class is checked before it is called; torch itself is not needed for that."""
    torch = SimpleNamespace(nn=SimpleNamespace(Module=type("Module", (), {})))
    monkeypatch.setitem(sys.modules, "torch", torch)
    touched = tmp_path / "touched"
    recipe = {"class": path, "arguments": {"command": f"touch {touched}"}, "same": {}}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(RefusedError) as caught:
        framework("torch").load(tmp_path)
    assert path in caught.value.message
    assert not touched.exists()
