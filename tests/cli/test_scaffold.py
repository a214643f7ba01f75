"""Projects out of templates."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack.cli.scaffold import class_name, make_project, render, template_names
from modelpack.config.load import load_project
from modelpack.errors import ConflictError, ModelpackError, NotFoundError, TagError

Cli = Callable[..., Any]


def test_command_makes_the_project_and_says_what_is_next(cli: Cli, tmp_path: Path) -> None:
    done = cli("init", "deep/words", "-t", "function")
    assert (done.status, done.out) == (0, "deep/words\n")
    assert done.err.splitlines()[-1] == "next: cd deep/words && modelpack serve"
    assert (tmp_path / "deep" / "words" / "service.py").is_file()
    done = cli("init", "digits")
    assert done.err.splitlines()[-1] == "next: cd digits && python train.py"


def test_templates_are_those_of_the_help() -> None:
    assert template_names() == ["function", "onnx", "sklearn"]


@pytest.mark.parametrize("template", ["function", "onnx", "sklearn"])
def test_project_is_named_after_its_folder_and_is_valid(tmp_path: Path, template: str) -> None:
    files = make_project(tmp_path / "deep" / "my-digits", template)

    folder = tmp_path / "deep" / "my-digits"
    assert files == sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))
    project = load_project(folder)
    assert (project.name, project.service) == ("my-digits", "service:MyDigits")
    names = {n.name for n in ast.parse((folder / "service.py").read_text()).body
             if isinstance(n, ast.ClassDef)}  # fmt: skip
    assert "MyDigits" in names
    for file in files:
        assert "@{" not in (folder / file).read_text()
    assert sorted(p.name for p in folder.parent.iterdir()) == ["my-digits"]


def test_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "mine.txt").write_text("mine")
    with pytest.raises(ConflictError):
        make_project(tmp_path / "digits", "onnx")
    assert [p.name for p in (tmp_path / "digits").iterdir()] == ["mine.txt"]


def test_current_folder_can_be_filled_when_it_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "digits"
    folder.mkdir()
    monkeypatch.chdir(folder)
    before = folder.stat().st_ino

    make_project(Path(), "function")

    assert folder.stat().st_ino == before
    assert load_project(Path()).name == "digits"


def test_unknown_template_is_told_with_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        make_project(tmp_path / "x", "skleran")
    assert caught.value.hint == "did you mean 'sklearn'? the templates are function, onnx, sklearn"
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_name_a_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TagError):
        make_project(tmp_path / "My Digits", "onnx")


def test_placeholders_are_filled_and_dollars_stay() -> None:
    text = "@{name}: echo ${HOME} $name @{name}"
    assert render(text, {"name": "x"}, where="f") == "x: echo ${HOME} $name x"


def test_placeholder_without_a_value_is_an_error() -> None:
    with pytest.raises(ModelpackError, match="asks for 'colour'"):
        render("@{colour}", {"name": "x"}, where="f")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("digits", "Digits"),
        ("my-digits", "MyDigits"),
        ("a.b_c-d", "ABCD"),
        ("7seas", "Service7seas"),
        ("none", "NoneService"),
        ("images", "ImagesService"),
    ],
)
def test_class_names_can_stand_in_python(name: str, expected: str) -> None:
    assert class_name(name, taken={"Images"}) == expected
    assert expected.isidentifier()
