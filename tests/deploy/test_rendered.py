"""Files that would be sent are written whole, below one folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelpack.deploy import Rendered
from modelpack.errors import DeployError


@pytest.mark.parametrize("path", ["../x", "/x", "a/../b", "", "a//b", ".hidden", "-x", "a/", "a b"])
def test_no_rendered_file_leaves_its_folder(path: str) -> None:
    with pytest.raises(ValueError, match="not a path below one folder"):
        Rendered(files={path: b""})


def test_rendered_files_are_written_whole_and_replace_older_ones(tmp_path: Path) -> None:
    rendered = Rendered(files={"a.json": b"1", "sub/b.json": b"2"})
    for _ in range(2):
        assert rendered.write(tmp_path / "out") == [
            tmp_path / "out" / "a.json",
            tmp_path / "out" / "sub" / "b.json",
        ]
    assert {file.name for file in (tmp_path / "out").rglob("*")} == {"a.json", "sub", "b.json"}


def test_rendered_files_do_not_follow_a_link_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DeployError, match="cannot be written"):
        Rendered(files={"sub/b.json": b"2"}).write(tmp_path / "out")
    assert list((tmp_path / "elsewhere").iterdir()) == []
