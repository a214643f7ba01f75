"""A reference to a saved model: where it is from, and that it is loaded once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelpack.sdk.model import Model, using_source
from modelpack.tag import Tag


class Folder:
    """A source over a folder; it counts what it loads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.loaded: list[str] = []

    def folder(self, tag: Tag) -> Path:
        return self.root / tag.name

    def load(self, folder: Path) -> Any:
        self.loaded.append(folder.name)
        return {"weights": (folder / "weights").read_text()}


@pytest.fixture
def source(tmp_path: Path) -> Folder:
    (tmp_path / "clf").mkdir()
    (tmp_path / "clf" / "weights").write_text("1 2 3")
    return Folder(tmp_path)


def made(source: Folder, ref: str = "clf:latest") -> Model:
    with using_source(source):
        return Model(ref)


def test_a_reference_keeps_the_source_that_it_was_made_with(source: Folder, tmp_path: Path) -> None:
    other = Folder(tmp_path / "elsewhere")
    model = made(source)

    with using_source(other):
        assert model.path == tmp_path / "clf"
        assert model.load() == {"weights": "1 2 3"}


def test_the_source_of_a_block_is_forgotten_after_it(source: Folder) -> None:
    made(source)

    assert Model("clf")._home is None


def test_a_model_of_the_same_files_is_not_loaded_again(source: Folder) -> None:
    old, new = made(source), made(source)
    loaded = old.load()

    assert new.adopt([old])

    assert new.load() is loaded
    assert source.loaded == ["clf"]


@pytest.mark.parametrize("text", ["4 5 6", "1 2 3"])
def test_a_model_whose_file_was_written_again_is_loaded_again(source: Folder, text: str) -> None:
    old, new = made(source), made(source)
    old.load()
    staged = source.root / "clf" / "staged"
    staged.write_text(text)
    staged.replace(source.root / "clf" / "weights")

    assert not new.adopt([old])
    assert new.load() == {"weights": text}


def test_nothing_is_taken_from_a_model_that_is_not_loaded(source: Folder) -> None:
    assert not made(source).adopt([made(source)])


def test_a_model_that_was_forgotten_is_loaded_again(source: Folder) -> None:
    model = made(source)
    first = model.load()
    model.forget()

    assert model.load() is not first
    assert source.loaded == ["clf", "clf"]
