"""A log has a bounded size, and its lines come out whole and in order."""

from __future__ import annotations

import stat
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from modelpack.deploy.logfile import LogReader, LogWriter, older, read_lines


def write(file: Path, *pieces: bytes, max_bytes: int = 10**6) -> None:
    writer = LogWriter(file, max_bytes=max_bytes)
    for piece in pieces:
        writer.write(piece)
    writer.close()


def test_a_log_is_private(tmp_path: Path) -> None:
    write(tmp_path / "log", b"x\n")
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600


def test_a_log_never_takes_more_than_two_files_of_its_size(tmp_path: Path) -> None:
    file = tmp_path / "log"
    write(file, *[b"%05d\n" % number for number in range(1000)], max_bytes=60)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.1"]
    assert file.stat().st_size <= 60
    assert older(file).stat().st_size <= 60
    lines = list(read_lines(file))
    assert lines == [f"{number:05d}" for number in range(1000 - len(lines), 1000)]


def test_a_log_goes_on_where_it_stopped(tmp_path: Path) -> None:
    file = tmp_path / "log"
    write(file, b"one\n")
    write(file, b"two\n")
    assert list(read_lines(file)) == ["one", "two"]


def test_tail_gives_the_last_lines(tmp_path: Path) -> None:
    file = tmp_path / "log"
    write(file, b"one\ntwo\nthree")
    assert list(read_lines(file, tail=2)) == ["two", "three"]
    assert list(read_lines(file, tail=0)) == []


def test_a_log_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert list(read_lines(tmp_path / "log")) == []


def test_following_gives_what_was_written_before_the_end_and_then_ends(tmp_path: Path) -> None:
    file = tmp_path / "log"
    write(file, b"one\n")
    script = iter([(b"two\nthr", False), (b"ee\n", False), (b"rest", True)])

    def has_ended() -> bool:
        data, is_over = next(script)
        write(file, data)
        return is_over

    assert list(read_lines(file, until=has_ended)) == ["one", "two", "three", "rest"]


def test_bytes_that_are_no_text_do_not_stop_a_reader(tmp_path: Path) -> None:
    write(tmp_path / "log", b"\xff\xfe\r\nnext\n")
    assert list(read_lines(tmp_path / "log")) == ["\ufffd\ufffd", "next"]


@given(
    st.lists(st.binary(max_size=12), max_size=12),
    st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_a_reader_sees_every_line_across_a_setting_aside(tmp_path_factory, pieces, looks) -> None:
    """At most one setting aside happens between two looks, as the sizes are chosen."""
    file = tmp_path_factory.mktemp("log") / "log"
    writer, reader = LogWriter(file, max_bytes=40), LogReader(file)
    seen: list[str] = []
    for piece in pieces:
        writer.write(piece)
        seen += reader.read()
    writer.close()
    seen += reader.read() + reader.read_rest()
    reader.close()

    lines = b"".join(pieces).split(b"\n")
    expected = [line.removesuffix(b"\r").decode(errors="replace") for line in lines]
    if expected[-1] == "" and not lines[-1]:
        expected.pop()
    assert seen == expected
