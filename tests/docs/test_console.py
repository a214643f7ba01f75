"""Console blocks are real.

```console        shown only; there every ``modelpack`` command and option must exist
```console run    run, line by line, in one folder, and what comes out is what the page says:
                  ``$ command``    run in a shell; ``modelpack serve`` goes on beside the lines
                                   after it, until the next one
                  anything else    must come out in this order; digits, digests and spaces may
                                   differ, ``…`` stands for anything
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from modelpack.cli.main import make_app

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("examples/*/README.md"),
    )
)
TOURS = [page for page in PAGES if "\n```console run\n" in (ROOT / page).read_text()]
WITHIN_S = 60.0


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_of_the_page_exist(
    page: str, blocks_of: Callable[..., list[Any]]
) -> None:
    app = typer.main.get_command(make_app())
    commands = [
        (block.line, words[1:])
        for block in blocks_of(ROOT / page, "console")
        for words in commands_in(block.text)
        if words[:1] == ["modelpack"]
    ]
    checked = [(line, shlex.join(words), check_words(app, words)) for line, words in commands]

    assert [one for one in checked if one[2] is not None] == []


def check_words(command: Any, words: list[str]) -> str | None:
    """Return what is wrong with the words of a command line, or None."""
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        if words[0] not in command.commands:
            return f"no command '{words[0]}'"
        command = command.commands[words[0]]
        words = words[1:]
    known = {opt for parameter in command.params for opt in parameter.opts}
    known |= {"--help", "--verbose", "-v"}
    ours = words[: words.index("--")] if "--" in words else words  # the rest is another program's
    options = [word.partition("=")[0] for word in ours if re.match(r"-\D", word)]
    unknown = [option for option in options if option not in known]
    return f"no option '{unknown[0]}'" if unknown else None


def commands_in(text: str) -> list[list[str]]:
    """Return the words of every command of a block; a ``$`` line may hold several."""
    found: list[list[str]] = []
    for line in re.findall(r"^\$ (.*)$", text, flags=re.MULTILINE):
        shell = shlex.shlex(line, posix=True, punctuation_chars=True)
        shell.whitespace_split = True
        found.append([])
        for word in shell:
            if set(word) <= set(";&|"):
                found.append([])
            else:
                found[-1].append(word)
    return found


# --- tours --------------------------------------------------------------------------------------


class Tour:
    """A shell that is led through a page."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "tour"
        self.folder.mkdir()
        self.log = folder / "serve.log"
        self.here = folder / "pwd"
        self.port = free_port()
        self.server: subprocess.Popen[bytes] | None = None
        programs = str(Path(sys.executable).parent)
        self.environ = {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "MODELPACK_PORT": str(self.port),
            "MODELPACK_CACHE": str(folder / "cache"),
        }

    def run(self, command: str) -> str:
        """Run one line of the page; return all that it printed."""
        line = command.replace(":3000", f":{self.port}").replace(" 3000", f" {self.port}")
        if line.startswith("modelpack serve"):
            return self.serve(line)
        # The folder that the line leads to is kept for the lines after it.
        script = f"{line}\nstatus=$?; pwd >{shlex.quote(str(self.here))}; exit $status"
        done = subprocess.run(
            ["/bin/sh", "-c", script],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"$ {line}\n{done.stdout}"
        self.folder = Path(self.here.read_text().strip())
        return done.stdout

    def serve(self, line: str) -> str:
        """Start a server in place of the one before it; return what it said until it was ready."""
        self.stop()
        with self.log.open("wb") as output:
            self.server = subprocess.Popen(
                shlex.split(line, comments=True),
                cwd=self.folder,
                env=self.environ,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline and self.server.poll() is None:
            if f":{self.port}/" in self.log.read_text():
                return self.log.read_text()
            time.sleep(0.02)
        pytest.fail(f"$ {line}\n{self.log.read_text()}")

    def stop(self) -> None:
        """End the server, if there is one."""
        if self.server is not None:
            self.server.terminate()
            assert self.server.wait(timeout=30) == 0, self.log.read_text()
            self.server = None


@pytest.fixture
def tour(tmp_path: Path) -> Iterator[Tour]:
    tour = Tour(tmp_path)
    yield tour
    tour.stop()


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("page", TOURS)
def test_commands_of_the_page_say_what_it_shows(
    page: str, tour: Tour, blocks_of: Callable[..., list[Any]]
) -> None:
    blocks = [*blocks_of(ROOT / page, "python"), *blocks_of(ROOT / page, "console", "run")]
    for block in sorted(blocks, key=lambda block: block.line):
        if block.language == "python":
            if name := re.match(r"# (\w+\.py)\n", block.text):
                (tour.folder / name[1]).write_text(block.text)
            continue
        for command, shown in steps_of(block.text):
            said = tour.run(command)
            missing = first_missing(shown, said)
            assert missing is None, f"{page}:{block.line}: $ {command}\n{said}\nlacks: {missing}"


def test_some_page_is_a_tour() -> None:
    assert "README.md" in TOURS


def steps_of(text: str) -> list[tuple[str, list[str]]]:
    """Return each ``$`` line with the lines that stand under it."""
    steps: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            steps.append((line[2:], []))
        elif line.strip():
            steps[-1][1].append(line.strip())
    return steps


def first_missing(shown: list[str], said: str) -> str | None:
    """Return the first line of the page that does not come out, in the page's order, or None."""
    position = 0
    for line in shown:
        found = re.compile(as_pattern(line)).search(said, position)
        if found is None:
            return line
        position = found.end()
    return None


def as_pattern(line: str) -> str:
    """Return what a line of a page stands for: digits, digests and spaces may differ."""
    parts = re.split(r"(…|\b[0-9a-f]{12}\b|\d+(?:\.\d+)?|\s+)", line)
    patterns = []
    for part in parts:
        if part == "…":
            patterns.append(r".*?")
        elif re.fullmatch(r"[0-9a-f]{12}", part):
            patterns.append(r"[0-9a-f]{12}")
        elif re.fullmatch(r"\d+(\.\d+)?", part):
            patterns.append(r"\d+(?:\.\d+)?")
        else:
            patterns.append(r"\s+" if part.isspace() else re.escape(part))
    return "".join(patterns)


@pytest.mark.parametrize(
    ("line", "said", "is_same"),
    [
        ("digits:7c1f0b2e9a44", "digits:0123456789ab", True),
        ("digits:7c1f0b2e9a44", "digits:0123", False),
        ("2 files, 31.1 kB", "3 files, 30 kB", True),
        ("2 files", "2 models", False),
        ("base … because", "base python:3.11-slim because", True),
    ],
)
def test_lines_are_compared_by_their_words(line: str, said: str, is_same: bool) -> None:
    assert (first_missing([line], said) is None) == is_same


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
