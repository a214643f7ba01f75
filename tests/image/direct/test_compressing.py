"""Layers as gzip: what any gzip reads, in the same bytes on any number of processors."""

from __future__ import annotations

import gzip
import io
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from modelpack.image.direct import compressing
from modelpack.image.direct.compressing import compress_file

MIB = 1024 * 1024


def compressed(file: Path) -> bytes:
    out = io.BytesIO()
    compress_file(file, out)
    return out.getvalue()


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 5 * MIB + 123])
def test_what_comes_out_is_what_went_in(tmp_path: Path, size: int) -> None:
    data = random.Random(size).randbytes(size // 2) + b"ab" * (size - size // 2)
    data = data[:size]
    (tmp_path / "file").write_bytes(data)
    assert gzip.decompress(compressed(tmp_path / "file")) == data


def test_other_tools_read_it(tmp_path: Path) -> None:
    data = b"words and words " * 200_000
    (tmp_path / "file").write_bytes(data)
    tool = shutil.which("gzip")
    assert tool is not None
    done = subprocess.run(
        [tool, "-dc"], input=compressed(tmp_path / "file"), capture_output=True, check=True
    )
    assert done.stdout == data


def test_it_is_nearly_as_small_as_in_one_piece(tmp_path: Path) -> None:
    rng = random.Random(1)
    words = [rng.randbytes(6).hex() for _ in range(2000)]
    data = " ".join(rng.choice(words) for _ in range(400_000)).encode()
    (tmp_path / "file").write_bytes(data)
    assert len(compressed(tmp_path / "file")) < 1.02 * len(gzip.compress(data, 6))


def test_processors_and_time_make_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(random.Random(2).randbytes(3 * MIB) + bytes(4 * MIB))
    found = set()
    for count in (1, 2, 7):
        monkeypatch.setattr(compressing, "processors", lambda count=count: count)
        found.add(compressed(tmp_path / "file"))
    assert len(found) == 1
    assert found.pop()[4:8] == bytes(4)
