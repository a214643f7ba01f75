from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.errors import RefusedError
from modelpack.store.names import PathGuard, path_fault

SAFE = [
    "bundle/a",
    "bundle/-rf",
    "bundle/new\nline",
    "bundle/ü/日本",
    "bundle/" + "n" * 255,
    "a.wh.b",
]
UNSAFE = ["", "/a", "a/../b", "..", "./a", "a//b", "a/", "a\0b", ".wh.a", "a/.wh.b", "n" * 256]


@pytest.mark.parametrize("path", SAFE)
def test_unusual_but_safe_names_are_kept(path: str) -> None:
    assert path_fault(path) is None


@pytest.mark.parametrize("path", [*UNSAFE, "a/" * 2048 + "b", "\udcff"])
def test_unsafe_names_are_refused(path: str) -> None:
    assert path_fault(path) is not None


@given(st.text(max_size=40))
def test_what_is_allowed_never_leaves_its_folder(path: str) -> None:
    if path_fault(path) is None:
        parts = path.split("/")
        assert not path.startswith("/")
        assert not {"", ".", ".."} & set(parts)


def test_folders_may_come_again_and_files_may_not() -> None:
    guard = PathGuard("the layer")
    guard.add("bundle", is_folder=True)
    guard.add("bundle", is_folder=True)
    guard.add("bundle/a", is_folder=False)
    with pytest.raises(RefusedError, match="is there twice"):
        guard.add("bundle/a", is_folder=False)


def test_a_parent_that_was_never_named_still_counts() -> None:
    guard = PathGuard("the layer")
    guard.add("bundle/a/b", is_folder=False)
    with pytest.raises(RefusedError, match="a file and a folder at once"):
        guard.add("bundle/a", is_folder=False)


def test_messages_name_the_path_without_control_characters() -> None:
    with pytest.raises(RefusedError) as caught:
        PathGuard("the layer").add("../\x1b[31m", is_folder=False)
    assert "\x1b" not in caught.value.message
    assert "../?[31m" in caught.value.message
