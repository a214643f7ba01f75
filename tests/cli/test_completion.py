"""Words that a shell offers, asked for as a shell does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from modelpack.cli.completion import SCRIPTS, candidates
from modelpack.cli.main import make_app

Cli = Callable[..., Any]


def offered(*words: str) -> list[str]:
    return candidates(typer.main.get_command(make_app()), list(words))


def test_commands_are_offered_by_their_beginning() -> None:
    assert offered("b") == ["batch", "bench", "build"]
    assert {"build", "deploy", "deployments", "serve"} <= set(offered(""))
    assert "__complete" not in offered("")
    assert offered("models", "l") == ["list"]


def test_options_are_offered_behind_dashes() -> None:
    assert offered("build", "--re") == ["--relock"]
    assert "--help" in offered("serve", "--")


def test_values_are_offered_where_they_are_known(bundle: Any, project: Path) -> None:
    assert offered("inspect", "") == ["hello", "hello:1"]
    assert offered("deploy", "hello:") == ["hello:1"]
    assert offered("verify", "hello:") == offered("sign", "hello:") == ["hello:1"]
    assert offered("deploy", "--target", "d") == ["docker"]
    assert offered("init", "--template", "") == ["function", "onnx", "sklearn"]
    assert offered("list", "-o", "j") == ["json"]
    assert offered("completion", "z") == ["zsh"]
    assert offered("models", "delete", "") == []


def test_words_that_lead_nowhere_offer_nothing_and_do_not_fail(cli: Cli) -> None:
    for words in ([], ["nope", "x"], ["build", "--name", ""], ["config", "schema", ""]):
        done = cli("__complete", "--", *words)
        assert (done.status, done.err) == (0, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_is_valid_for_its_shell(cli: Cli, shell: str, tmp_path: Path) -> None:
    script = cli("completion", shell).out
    assert script.strip() == SCRIPTS[shell].strip()
    if program := shutil.which(shell):
        (tmp_path / "script").write_text(script)
        subprocess.run([program, "-n", tmp_path / "script"], check=True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("modelpack bui", ["build"]),
        ("modelpack models ", ["convert", "delete", "inspect", "list", "undelete"]),
        ("modelpack inspect hello:", ["1"]),
        ("modelpack deploy hello:1 --target lo", ["local"]),
        ("modelpack serve --po", ["--port"]),
    ],
)
def test_bash_completes_with_the_script(line: str, words: list[str], bundle: Any) -> None:
    """Bash takes the colon of a tag for the end of a word; what is offered must fit behind it."""
    code = f"""
        source <(modelpack completion bash)
        COMP_LINE={line!r} COMP_POINT=${{#COMP_LINE}}
        COMP_POINT={len(line)}
        _modelpack
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    scripts = sysconfig.get_path("scripts")
    done = subprocess.run(
        ["bash", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}"},
        timeout=60,
        check=True,
    )
    assert (done.stdout.split(), done.stderr) == (words, "")


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes_with_the_script(bundle: Any) -> None:
    code = "modelpack completion fish | source; complete -C 'modelpack inspect hello:'"
    scripts = sysconfig.get_path("scripts")
    done = subprocess.run(
        ["fish", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}"},
        timeout=60,
        check=True,
    )
    assert "hello:1" in done.stdout.split()
