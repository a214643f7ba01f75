from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

import pytest

from modelpack.errors import DigestMismatchError, ToolMissingError
from modelpack.image.engines import programs
from modelpack.image.engines.programs import ask, running

STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('on', flush=True)\n"


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_is_fed_comes_out_as_lines_errors_among_them() -> None:
    feed = iter([b"one\ntw", b"o\n", b"\xff three"])

    with running(["sh", "-c", "cat; echo four >&2; exit 3"], feed=feed) as program:
        lines = list(program.lines())
        status = program.status()

    assert lines == ["one", "two", "\ufffd threefour"]
    assert status == 3


def test_variables_are_added_to_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "1")

    with running(["sh", "-c", "echo $OURS $ADDED"], environment={"ADDED": "2"}) as program:
        assert list(program.lines()) == ["1 2"]


def test_a_feed_that_fails_ends_the_program_before_it_sees_an_end() -> None:
    def damaged() -> Iterator[bytes]:
        yield b"half\n"
        raise DigestMismatchError("rotten")

    words = [sys.executable, "-c", "import sys; sys.stdin.read(); print('whole')"]
    said: list[str] = []
    with (
        pytest.raises(DigestMismatchError, match="rotten"),
        running(words, feed=damaged()) as program,
    ):
        said.extend(program.lines())

    assert "whole" not in said


def test_a_program_need_not_read_all_that_it_is_fed() -> None:
    endless = iter(lambda: b"x" * 65536, None)

    with running(["sh", "-c", "echo enough; exit 7"], feed=endless) as program:
        assert list(program.lines()) == ["enough"]
        assert program.status() == 7


@pytest.mark.parametrize("wait", ["sleep 100", "sleep 100 & wait"])
def test_an_interruption_ends_the_program_and_what_it_started(wait: str) -> None:
    with pytest.raises(KeyboardInterrupt), running(["sh", "-c", f"echo $$; {wait}"]) as program:
        pid = int(next(program.lines()))
        raise KeyboardInterrupt

    assert not is_running(pid)


def test_a_program_that_will_not_end_is_made_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_PATIENCE_S", 0.2)
    code = f"import os; print(os.getpid()); {STUBBORN}time.sleep(100)"
    begun = time.monotonic()

    with running([sys.executable, "-c", code]) as program:
        lines = program.lines()
        pid = int(next(lines))
        assert next(lines) == "on"

    assert not is_running(pid)
    assert time.monotonic() - begun < 60


def test_a_program_that_is_not_there_is_named() -> None:
    with (
        pytest.raises(ToolMissingError, match="'no-such-builder' cannot be started"),
        running(["no-such-builder"]),
    ):
        pass
    with pytest.raises(ToolMissingError):
        ask(["no-such-builder"])


def test_a_question_that_gets_no_answer_ends() -> None:
    status, output, errors = ask(["sleep", "100"], timeout_s=0.2)

    assert (status, output) == (124, "")
    assert "'sleep' does not answer" in errors
