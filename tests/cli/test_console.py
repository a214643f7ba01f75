"""What goes where, in which form, and what a terminal sees of it."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from modelpack.cli import console
from modelpack.errors import UsageError

PROGRAM = """
import sys, time
from modelpack.cli import console
steps = console.Steps()
with steps.step("lock the dependencies"):
    steps.note("from the cache")
    time.sleep(0.7)
with steps.step("outer"), steps.step("inner"):
    pass
console.warn("careful")
console.table(("tag", "size"), [("digits:1", "3 kB"), ("a-much-longer-name:2", "5 MB")])
"""


def in_terminal(code: str, **env: str) -> str:
    """Run Python in a pseudo-terminal and return all that it wrote there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", **env},
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        seen += piece
    os.close(ours)
    assert process.wait(timeout=30) == 0
    return seen.decode()


def piped(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        check=True,
    )


def test_piped_output_is_plain_lines_and_the_result_alone_on_stdout() -> None:
    done = piped(PROGRAM, COLUMNS="20")

    assert done.stdout.splitlines() == [
        "TAG                   SIZE",
        "digits:1              3 kB",
        "a-much-longer-name:2  5 MB",
    ]
    lines = done.stderr.splitlines()
    assert lines[0] == "  from the cache"
    assert re.fullmatch(r"  lock the dependencies \((0\.[789]|1\.\d|2\.\d) s\)", lines[1])
    assert re.fullmatch(r"  inner \(\d+ ms\)", lines[2])
    assert re.fullmatch(r"  outer \(\d+ ms\)", lines[3])
    assert lines[4:] == ["warning: careful"]
    assert "\x1b" not in done.stdout + done.stderr
    assert "\r" not in done.stderr


def test_terminal_sees_the_running_step_and_colours() -> None:
    seen = in_terminal(PROGRAM)

    assert "\r\x1b[2K  lock the dependencies …" in seen
    assert "\x1b[33mwarning\x1b[0m: careful" in seen
    assert "\x1b[1mTAG" in seen
    # The note stands above the step, which is drawn anew under it.
    assert re.search(r"\x1b\[2K  from the cache\r\n\r\x1b\[2K  lock the dependencies …", seen)


@pytest.mark.parametrize("variable", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colour_can_be_refused(variable: dict[str, str]) -> None:
    seen = in_terminal(PROGRAM, **variable)
    assert re.findall(r"\x1b\[[0-9;]*m", seen) == []
    assert "warning: careful" in seen


def test_step_that_fails_says_so_and_lets_the_error_through(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ValueError, match="broken"), console.Steps().step("install"):
        raise ValueError("broken")
    assert capsys.readouterr().err == "  install failed\n"


def test_consent_is_not_asked_without_a_terminal() -> None:
    with pytest.raises(UsageError, match="no terminal") as caught:
        console.ask("apply this?", flag="--yes", what="deploy")
    assert "--yes" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("typed", "answer"), [("y", True), ("yes", True), ("", False), ("n", False), ("Y", True)]
)
def test_consent_is_y_and_nothing_else(typed: str, answer: bool) -> None:
    code = (
        "import sys; from modelpack.cli import console; "
        "print('answer', console.ask('apply this?', flag='--yes', what='deploy'))"
    )
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=theirs, stderr=theirs, stdout=subprocess.PIPE
    )
    os.close(theirs)
    os.write(ours, f"{typed}\n".encode())
    out, _ = process.communicate(timeout=30)
    os.close(ours)
    assert out.decode().strip() == f"answer {answer}"


def test_text_that_the_terminal_cannot_show_is_replaced() -> None:
    done = piped(
        "from modelpack.cli import console; console.out('grün → gut')",
        PYTHONIOENCODING="ascii",
    )
    assert done.stdout == "gr?n ? gut\n"


def test_facts_are_aligned_and_a_list_has_a_line_an_entry(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console.facts({"tag": "x:1", "layers": ["one", "two"], "none": []})
    assert capsys.readouterr().out == "tag     x:1\nlayers  one\n        two\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0004, "0 ms"),
        (0.012, "12 ms"),
        (0.3, "0.3 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (125, "2 min 5 s"),
    ],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert console.duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é\ttext", "plain é\ttext"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\rb\x07", "a\\rb\\x07"),
    ],
)
def test_text_of_others_does_not_steer_the_terminal(text: str, shown: str) -> None:
    assert console.harmless(text) == shown
