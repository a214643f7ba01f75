"""Against tarfile, which writes every form that there is, and against damage."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.errors import DigestMismatchError, ModelpackError, RefusedError
from modelpack.image.reading import Kind, Member, Pulled, members
from modelpack.image.reading.members import MAX_HEADER_BYTES, Seeking

LONG = "folder/" * 40 + "file"
FORMS = [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]


def read(data: bytes, step: int = 700) -> list[tuple[Member, bytes]]:
    """Read a tar that comes in pieces which fit no block."""
    pieces = (data[at : at + step] for at in range(0, len(data), step))
    return [(member, b"".join(content)) for member, content in members(Pulled(pieces), "a tar")]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("step", [1, 700, 1_000_000])
def test_every_kind_of_member_is_read_as_it_was_written(made: Any, form: int, step: int) -> None:
    data = made.tar(
        made.folder("a"),
        made.file("a/b", b"x" * 1000, mode=0o755),
        made.file(LONG, b"long"),
        made.file("Grüße", b""),
        made.link("a/link", "b"),
        made.link("a/far", LONG),
        made.hardlink("a/hard", "a/b"),
        made.device("null"),
        form=form,
    )

    found = [(one.path.rstrip("/"), one.kind, one.link, text) for one, text in read(data, step)]

    assert found == [
        ("a", Kind.FOLDER, "", b""),
        ("a/b", Kind.FILE, "", b"x" * 1000),
        (LONG, Kind.FILE, "", b"long"),
        ("Grüße", Kind.FILE, "", b""),
        ("a/link", Kind.SYMLINK, "b", b""),
        ("a/far", Kind.SYMLINK, LONG, b""),
        ("a/hard", Kind.HARDLINK, "a/b", b""),
        ("null", Kind.DEVICE, "", b""),
    ]


@pytest.mark.parametrize("form", FORMS)
def test_the_offset_is_where_the_bytes_are(made: Any, form: int) -> None:
    data = made.tar(made.file(LONG, b"one"), made.file("b", b"two"), form=form)

    found = [member for member, _ in members(Seeking(io.BytesIO(data)), "a tar")]

    assert [data[one.offset : one.offset + one.size] for one in found] == [b"one", b"two"]


def test_numbers_in_base_256_are_read(made: Any) -> None:
    """GNU tar writes ids and sizes so that do not fit."""
    member, content = made.file("a", b"x")
    member.uid = 10**9

    ((found, _),) = read(made.tar((member, content), form=tarfile.GNU_FORMAT))

    assert found.user == 10**9


def test_names_that_are_no_text_are_spelled(made: Any) -> None:
    member, content = made.file("a\udcff", b"")

    ((found, _),) = read(made.tar((member, content), form=tarfile.GNU_FORMAT))

    assert found.path == "a\\xff"


def test_bytes_that_nobody_reads_are_gone_over(made: Any) -> None:
    data = made.tar(*(made.file(f"f{n}", b"x" * n * 300) for n in range(5)))

    assert [one.path for one, _ in members(Pulled(iter([data])), "t")] == [
        f"f{n}" for n in range(5)
    ]
    half = []
    for member, content in members(Pulled(iter([data])), "t"):
        next(content, None)
        half.append(member.path)
    assert half == [f"f{n}" for n in range(5)]


@pytest.mark.parametrize("keep", [100, 600, 1024, 1400])
def test_a_tar_that_ends_too_early_is_noticed(made: Any, keep: int) -> None:
    data = made.tar(made.file("a", b"x" * 900), made.file("b", b"y"))[:keep]

    with pytest.raises(DigestMismatchError, match="a tar"):
        read(data)
    with pytest.raises(DigestMismatchError, match="a tar"):
        list(members(Seeking(io.BytesIO(data)), "a tar"))


def test_a_changed_header_is_noticed(made: Any) -> None:
    data = bytearray(made.tar(made.file("a", b"x")))
    data[0] ^= 1

    with pytest.raises(DigestMismatchError, match="the checksum of a header is wrong"):
        read(bytes(data))


def test_an_extended_header_of_gigabytes_is_refused_before_it_is_read(made: Any) -> None:
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, MAX_HEADER_BYTES + 1
    data = header.tobuf(tarfile.USTAR_FORMAT)

    with pytest.raises(RefusedError, match=f"a header of {MAX_HEADER_BYTES + 1} bytes"):
        read(data)


def test_headers_without_end_are_refused() -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1
    one = header.tobuf(tarfile.GNU_FORMAT) + b"x".ljust(512, b"\0")

    with pytest.raises(RefusedError, match="one extended header after the other"):
        read(one * 1000)


@given(st.binary(max_size=3000), st.integers(0, 2999), st.binary(min_size=1, max_size=20))
def test_whatever_the_bytes_are_it_ends_in_members_or_an_error_of_ours(
    noise: bytes, at: int, change: bytes
) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in ("a", "b" * 150):
            member = tarfile.TarInfo(name)
            member.size = 300
            archive.addfile(member, io.BytesIO(b"z" * 300))
    whole = bytearray(out.getvalue())
    whole[at : at + len(change)] = change

    for data in (noise, bytes(whole)):
        try:
            found = read(data)
        except ModelpackError:
            continue
        assert sum(len(text) for _, text in found) <= len(data)
