"""What the one argument of serve and build means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelpack.cli.source import BundleSource, ModelSource, ProjectSource, source_of
from modelpack.errors import NotFoundError, TagError
from modelpack.tag import Tag


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "service.py").touch()
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "inner.py").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "model.onnx").touch()
    return tmp_path


def test_nothing_means_the_project_in_this_folder(here: Path) -> None:
    assert source_of(None, here=here) == ProjectSource(here)


def test_folder_is_a_project(here: Path) -> None:
    assert source_of("folder", here=here) == ProjectSource(here / "folder")
    assert source_of(".", here=here) == ProjectSource(here)


def test_file_is_a_model(here: Path) -> None:
    assert source_of("model.onnx", here=here) == ModelSource(here / "model.onnx")


@pytest.mark.parametrize(
    "text",
    ["service", "service:Digits", "service:digits", "package.inner:X", "package:Y", "package"],
)
def test_module_of_this_folder_is_an_import_string(here: Path, text: str) -> None:
    assert source_of(text, here=here) == ProjectSource(here, text)


@pytest.mark.parametrize("text", ["servce:Digits", "Module:Thing", "a_b.c:_Hidden"])
def test_what_ends_like_a_class_is_an_import_string(here: Path, text: str) -> None:
    """So that a slip in the module's name is told as one, and not as a missing bundle."""
    assert source_of(text, here=here) == ProjectSource(here, text)


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("digits", Tag("digits")),
        ("digits:latest", Tag("digits")),
        ("digits:7c1f0b2e9a44", Tag("digits", "7c1f0b2e9a44")),
        ("digits:production", Tag("digits", "production")),
        ("digits:1.0", Tag("digits", "1.0")),
    ],
)
def test_everything_else_is_a_tag(here: Path, text: str, tag: Tag) -> None:
    assert source_of(text, here=here) == BundleSource(tag)


def test_name_of_a_stored_bundle_beats_the_look_of_a_class(here: Path, bundle: Any) -> None:
    assert source_of("hello:V1", here=here) == BundleSource(Tag("hello", "V1"))
    assert source_of("hallo:V1", here=here) == ProjectSource(here, "hallo:V1")


@pytest.mark.parametrize("text", ["nope.onnx", "some/where", "/no/such/place"])
def test_path_that_is_not_there_is_not_found(here: Path, text: str) -> None:
    with pytest.raises(NotFoundError):
        source_of(text, here=here)


@pytest.mark.parametrize("text", ["A B", "digits:", ":x", "digits:a b", "-x", ""])
def test_text_that_can_be_nothing_is_refused_with_the_forms_there_are(
    here: Path, text: str
) -> None:
    with pytest.raises(TagError) as caught:
        source_of(text or ":", here=here)
    assert "module:Class" in str(caught.value.hint)
