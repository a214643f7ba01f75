from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelpack.errors import BuildError, RefusedError
from modelpack.store.names import path_fault
from modelpack.store.tar import RECORD, Member, header, write_tar

NAME = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=130
)
PATHS = st.lists(NAME, min_size=1, max_size=3).map("/".join).filter(lambda p: not path_fault(p))


def by_tarfile(files: dict[str, tuple[int, bytes]]) -> bytes:
    """Write the same files with the standard library."""
    parents = {p.rsplit("/", i)[0] for p in files for i in range(1, p.count("/") + 1)}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted({*files, *parents}):
            info = tarfile.TarInfo(path)
            if path in parents:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
            else:
                info.mode, info.size = files[path][0], len(files[path][1])
                archive.addfile(info, io.BytesIO(files[path][1]))
    return buffer.getvalue()


def ours(files: dict[str, tuple[int, bytes]]) -> bytes:
    buffer = io.BytesIO()
    write_tar(
        buffer,
        [
            Member(path, mode, len(data), lambda data=data: io.BytesIO(data))
            for path, (mode, data) in files.items()
        ],
    )
    return buffer.getvalue()


@settings(max_examples=150)
@given(
    st.dictionaries(
        PATHS, st.tuples(st.sampled_from([0o644, 0o755]), st.binary(max_size=1500)), max_size=6
    )
)
def test_the_bytes_are_those_of_the_standard_library(files: dict[str, tuple[int, bytes]]) -> None:
    try:
        written = ours(files)
    except RefusedError:  # two of the drawn names cannot stand together
        return
    assert written == by_tarfile(files)
    assert len(written) % RECORD == 0


@pytest.mark.parametrize("size", [0, 8**11 - 1, 8**11, 20 * 2**30])
def test_the_header_of_a_huge_file_is_that_of_the_standard_library(size: int) -> None:
    info = tarfile.TarInfo("bundle/models/clf/weights")
    info.size, info.mode = size, 0o644
    assert header(info.name, 0o644, size, b"0") == info.tobuf(tarfile.PAX_FORMAT)


def test_order_and_folders_of_the_input_do_not_matter() -> None:
    a, b = Member.of_bytes("bundle/b/1", b"1"), Member.of_bytes("bundle/a", b"2")
    one, other = io.BytesIO(), io.BytesIO()
    write_tar(one, [a, b])
    write_tar(other, [b, a])
    assert one.getvalue() == other.getvalue()
    with tarfile.open(fileobj=io.BytesIO(one.getvalue())) as archive:
        assert archive.getnames() == ["bundle", "bundle/a", "bundle/b", "bundle/b/1"]


@pytest.mark.parametrize("now", [b"longer than before", b"short", b"as long!"])
def test_a_file_that_changes_while_it_is_packed_is_noticed(tmp_path: Path, now: bytes) -> None:
    file = tmp_path / "weights"
    file.write_bytes(now)
    was = b"original"
    member = Member("bundle/weights", 0o644, len(was), lambda: file.open("rb"), "0" * 64)
    with pytest.raises(BuildError, match="changed while it was packed"):
        write_tar(io.BytesIO(), [member])


def test_a_whiteout_is_never_written() -> None:
    with pytest.raises(RefusedError, match=r"\.wh\."):
        write_tar(io.BytesIO(), [Member.of_bytes("bundle/.wh.x", b"")])
