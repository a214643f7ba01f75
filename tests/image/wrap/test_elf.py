"""What executables say of themselves is read; damaged and foreign ones are refused, none is run."""

from __future__ import annotations

import shutil
import struct
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.archive.platforms import host_platform
from modelpack.errors import UsageError
from modelpack.image.wrap.elf import read_elf

INTERPRETER = Path(sys.executable).resolve()


def header(
    *,
    bits: int = 2,
    order: int = 1,
    system: int = 0,
    kind: int = 2,
    machine: int = 62,
    segments: int = 0,
) -> bytes:
    """Return the first 64 bytes of a program."""
    ident = b"\x7fELF" + bytes([bits, order, 1, system]) + bytes(8)
    return ident + struct.pack(
        "<HHIQQQIHHHHHH",
        kind,
        machine,
        1,
        0,
        64 if segments else 0,
        0,
        0,
        64,
        56,
        segments,
        0,
        0,
        0,
    )


def written(folder: Path, data: bytes) -> Path:
    file = folder / "server"
    file.write_bytes(data)
    return file


def test_a_program_of_this_machine_says_what_it_needs() -> None:
    found = read_elf(INTERPRETER)

    assert found.platform == host_platform().name
    assert found.loader is not None
    assert "ld-linux" in found.loader
    assert any(name.startswith("libc.so") for name in found.libraries)
    assert found.glibc is not None
    assert (2, 4) < found.glibc < (3, 0)


@pytest.mark.parametrize(("machine", "platform"), [(62, "linux/amd64"), (183, "linux/arm64")])
def test_a_static_program_needs_nothing(tmp_path: Path, machine: int, platform: str) -> None:
    found = read_elf(written(tmp_path, header(machine=machine)))
    assert (found.platform, found.loader, found.libraries, found.glibc) == (
        platform,
        None,
        (),
        None,
    )


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"bits": 1}, "not a 64-bit little-endian program"),
        ({"order": 2}, "not a 64-bit little-endian program"),
        ({"system": 9}, "not a Linux program"),  # FreeBSD
        ({"kind": 1}, "not a Linux program"),  # an object file
        ({"kind": 4}, "not a Linux program"),  # a core dump
        ({"machine": 243}, "compiled for another processor"),  # RISC-V
    ],
)
def test_what_cannot_run_in_an_image_is_refused(
    tmp_path: Path, fields: dict[str, int], why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        read_elf(written(tmp_path, header(**fields)))


@pytest.mark.parametrize("length", [4, 20, 63])
def test_a_program_that_ends_in_its_header_is_damaged(tmp_path: Path, length: int) -> None:
    with pytest.raises(UsageError, match="damaged program"):
        read_elf(written(tmp_path, header()[:length]))


def test_a_program_that_ends_before_its_segments_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="damaged program"):
        read_elf(written(tmp_path, header(segments=3)))


@given(at=st.integers(0, 4095), value=st.integers(0, 255), length=st.integers(64, 1 << 20))
def test_no_damage_is_more_than_an_error(
    tmp_path_factory: pytest.TempPathFactory, at: int, value: int, length: int
) -> None:
    """Whatever a file says, it is read or refused; nothing is read outside of it, nothing hangs."""
    data = bytearray(INTERPRETER.read_bytes()[:length])
    data[min(at, len(data) - 1)] = value
    file = written(tmp_path_factory.mktemp("damaged"), bytes(data))
    with suppress(UsageError):
        read_elf(file)
    shutil.rmtree(file.parent)
