"""The command line as a whole: what a mistake looks like, what help says, how fast it is there."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from modelpack.cli import main as cli_main
from modelpack.cli.help import SECTIONS, short_help, split_example
from modelpack.cli.main import make_app
from modelpack.cli.reference import reference_page
from modelpack.version import __version__

PROGRAM = Path(sysconfig.get_path("scripts")) / "modelpack"
DOCS = Path(__file__).parents[2] / "docs" / "reference"
HEAVY = ("boto3", "docker", "numpy", "onnxruntime", "pydantic", "rich", "uvicorn", "yaml")
Cli = Callable[..., Any]


def commands() -> dict[str, Any]:
    """Every command by its words, groups left out."""
    found: dict[str, Any] = {}

    def walk(command: Any, path: str) -> None:
        for name, inner in command.commands.items():
            if hasattr(inner, "commands"):
                walk(inner, f"{path}{name} ")
            elif not inner.hidden:
                found[f"{path}{name}"] = inner

    walk(typer.main.get_command(make_app()), "")
    return found


# --- mistakes -----------------------------------------------------------------------------------

MISTAKES = [
    # arguments, files, exit status, code, what the first line says, what the help says
    (
        ["build"],
        {"modelpack.yaml": "name: x\n\ninclde: []\n"},
        2,
        "bad-config",
        "modelpack.yaml:3:1: unknown key 'inclde', did you mean 'include'?",
        None,
    ),
    (
        ["build"],
        {"modelpack.yaml": "server: {port: [1}\n"},
        2,
        "bad-config",
        "modelpack.yaml:1:18: not valid YAML: a '[' is never closed",
        None,
    ),
    (
        ["build"],
        {"modelpack.yaml": "a: 1\nb: 1\nc: 1\nd: 1\ne: 1\n"},
        2,
        "bad-config",
        "modelpack.yaml:1:1: unknown key 'a'",
        "2 more mistakes, -v shows all 5",
    ),
    (["serve", "servce:Hello"], {}, 2, "module-not-found", "no module 'servce'", "'service'?"),
    (["build"], {"modelpack.yaml": "service: nowhere:X\n"}, 2, "module-not-found", "'nowhere'", ""),
    (["serve", "service:Helo"], {}, 2, "attribute-not-found", "no 'Helo'", "did you mean 'Hello'?"),
    (["biuld"], {}, 2, "usage", "no command 'modelpack biuld'", "did you mean 'modelpack build'?"),
    (["frobnicate"], {}, 2, "usage", "no command", "'modelpack --help' lists them"),
    (["models", "lst"], {}, 2, "usage", "'modelpack models lst'", "'modelpack models list'?"),
    (["build", "--nam", "x"], {}, 2, "usage", "no option '--nam'", "did you mean '--name'?"),
    (["serve", "--port", "x"], {}, 2, "usage", "--port: must be a whole number", "--help"),
    (
        ["serve", "--port", "99999"],
        {},
        2,
        "usage",
        "--port: must be from 0 to 65535",
        "out for 3000",
    ),
    (["list", "-o", "xml"], {}, 2, "usage", "--format: 'xml' is not one of 'text', 'json'", ""),
    (["inspect"], {}, 2, "usage", "'modelpack inspect' needs TAG: NAME or NAME:VERSION", "--help"),
    (["build", "--name"], {}, 2, "usage", "needs a value after '--name'", "--help"),
    (["export", "a", "b", "c"], {}, 2, "usage", "takes no argument 'c'", "--help"),
    (["inspect", "Bad Tag"], {}, 2, "bad-tag", "'Bad Tag' is not a name", "lower-case"),
    (["inspect", "x:"], {}, 2, "bad-tag", "no version after the colon in 'x:'", "NAME:VERSION"),
    (["delete", "../../x"], {}, 2, "bad-tag", "'../../x' is not a name", ""),
    (["tag", "x:1", "y:2"], {}, 2, "usage", "'x' cannot become 'y'", "--name"),
    (["build", "nowhere"], {}, 2, "usage", "'nowhere' is not a folder", ""),
    (["deploy", "x:1"], {}, 2, "usage", "no target", "docker, local"),
    (["completion", "tcsh"], {}, 2, "usage", "'tcsh'", "bash, zsh or fish"),
    (["init", "Bad"], {}, 2, "bad-tag", "'Bad' is not a name", "lower-case"),
    (["models", "inspect", "nope"], {}, 3, "model-not-found", "no model 'nope", ""),
    (["inspect", "nope"], {}, 3, "bundle-not-found", "no bundle 'nope", "modelpack list"),
    (["serve", "nope:latest"], {}, 3, "bundle-not-found", "no bundle 'nope", ""),
    (["containerize"], {}, 3, "bundle-not-found", "'hello' has no bundle yet", "modelpack build"),
    (["deploy", "--target", "dokcer"], {}, 3, "target-not-found", "'dokcer'", "'docker'?"),
    (["deployments", "logs", "nope"], {}, 3, "deployment-not-found", "'nope'", ""),
    (["serve", "nope.onnx"], {}, 3, "not-found", "no file 'nope.onnx'", "path"),
    (["import", "nope.modelpack"], {}, 3, "not-found", "nope.modelpack", ""),
    (["init", "new", "-t", "onx"], {}, 3, "not-found", "no template 'onx'", "'onnx'?"),
    (["import", "service.py"], {}, 4, "refused", "service.py", ""),
    (["init", "."], {}, 5, "conflict", "is not an empty folder", ""),
    (
        ["serve"],
        {"service.py": "import os\n\nvalue = 1 / 0\n"},
        1,
        "service-failed",
        "'service' failed as it was imported: ZeroDivisionError: division by zero",
        "-v",
    ),
    (
        ["serve"],
        {"service.py": "x = (\n"},
        1,
        "service-failed",
        "never closed (service.py, line 1)",
        "",
    ),
    (["build"], {"service.py": "import nosuch\n"}, 1, "service-failed", "'nosuch'", "install it"),
    (["serve"], {"service.py": "exit(3)\n"}, 1, "service-failed", "SystemExit: 3", ""),
]


@pytest.mark.parametrize(
    ("arguments", "files", "status", "code", "what", "help_text"),
    MISTAKES,
    ids=[" ".join(row[0]) + (f" ({next(iter(row[1]))})" if row[1] else "") for row in MISTAKES],
)
def test_mistake_is_told_in_four_lines_with_its_exit_status(
    cli: Cli,
    project: Path,
    *,
    arguments: list[str],
    files: dict[str, str],
    status: int,
    code: str,
    what: str,
    help_text: str | None,
) -> None:
    for name, text in files.items():
        (project / name).write_text(text)

    done = cli(*arguments, cwd=project)

    done.failed_well(status, code)
    assert what in done.err
    assert ("  help: " in done.err) is (help_text is not None)
    assert (help_text or "") in done.err


def test_port_in_use_is_told_before_anything_is_served(cli: Cli, project: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = cli("serve", "--port", port, cwd=project)

    done.failed_well(1, "port-in-use")
    assert f"127.0.0.1:{port} is in use" in done.err
    assert "--port" in done.err


def test_missing_engine_is_told_with_what_works_without_one(cli: Cli, bundle: Any) -> None:
    # podman and buildah, where they are installed, would do
    nowhere = {
        "DOCKER_HOST": "unix:///nowhere/docker.sock",
        "PATH": str(Path(sys.executable).parent),
    }

    done = cli("containerize", bundle.tag, "--base", "127.0.0.1:9/base:1", env=nowhere)
    done.failed_well(6, "tool-missing")
    for way in ("start an engine", "--base", "--dockerfile"):
        assert way in done.err

    cli("deploy", bundle.tag, "--target", "docker", "--plan", env=nowhere).failed_well(
        6, "tool-missing"
    )


def test_every_mistake_of_a_file_is_shown_with_v(cli: Cli, project: Path) -> None:
    (project / "modelpack.yaml").write_text("a: 1\nb: 1\nc: 1\nd: 1\ne: 1\n")
    done = cli("build", "-v", cwd=project)
    assert [line for line in "abcde" if f"unknown key '{line}'" in done.err] == list("abcde")


def test_failure_in_the_users_module_names_their_line(cli: Cli, project: Path) -> None:
    (project / "service.py").write_text("import json\n\njson.loads('{')\n")
    done = cli("serve", cwd=project)
    assert """  in 'service.py', line 3: json.loads('{')""" in done.err.splitlines()


def test_traceback_of_a_user_has_no_frames_of_ours(cli: Cli, project: Path) -> None:
    (project / "helper.py").write_text("def f():\n    return 1 / 0\n")
    (project / "service.py").write_text("import helper\n\nhelper.f()\n")

    done = cli("serve", "--verbose", cwd=project)

    assert "Traceback" in done.err
    assert "service.py" in done.err
    assert "helper.py" in done.err
    assert "modelpack/" not in done.err.partition("error[")[0]
    assert "-v" not in done.err.partition("error[")[2]


def test_mistake_of_ours_is_one_line_and_a_traceback_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("MODELPACK_CACHE", str(tmp_path / "cache"))

    def break_down(_: object) -> None:
        raise KeyError("what nobody thought of")

    monkeypatch.setattr(cli_main, "_invoke", break_down)

    assert cli_main.main(["list"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("error[internal]: KeyError: 'what nobody thought of'\n")
    assert len(shown.splitlines()) == 2
    kept = tmp_path / "cache" / "last-traceback.txt"
    assert str(kept) in shown
    assert "in break_down" in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("number", "status", "code"),
    [
        (errno.ENOSPC, 1, "no-space"),
        (errno.EACCES, 4, "not-permitted"),
        (errno.EIO, 1, "system"),
    ],
)
def test_refusal_of_the_system_is_no_mistake_of_ours(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
    status: int,
    code: str,
) -> None:
    def refuse(_: object) -> None:
        raise OSError(number, os.strerror(number), "/some/file")

    monkeypatch.setattr(cli_main, "_invoke", refuse)

    assert cli_main.main([]) == status
    shown = capsys.readouterr().err
    assert shown.startswith(f"error[{code}]: ")
    assert "'/some/file'" in shown


def test_interrupt_ends_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_main, "_invoke", interrupt)
    assert cli_main.main([]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_reader_that_leaves_early_is_no_error() -> None:
    """``modelpack ... | head -1`` says nothing on standard error."""
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [PROGRAM, "config", "schema"],
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(theirs)
    assert (done.returncode, done.stderr) == (141, "")


def test_error_whose_reader_has_left_ends_quietly(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [PROGRAM, "biuld"], cwd=tmp_path, stderr=theirs, stdout=subprocess.PIPE, check=False
    )
    os.close(theirs)
    assert (done.returncode, done.stdout) == (141, b"")


# --- help ---------------------------------------------------------------------------------------


def test_help_is_grouped_and_begins_with_an_example(cli: Cli) -> None:
    done = cli("--help")

    assert done.status == 0
    assert done.out.startswith("  $ modelpack init")
    titles = [line for line in done.out.splitlines() if line.endswith(":") and line[0] != " "]
    assert titles == [f"{title}:" for title in SECTIONS]


def test_help_lists_every_command_once() -> None:
    root = typer.main.get_command(make_app())
    listed = [name for section in SECTIONS.values() for name in section]
    shown = [name for name, command in vars(root)["commands"].items() if not command.hidden]
    assert sorted(listed) == sorted(shown)


@pytest.mark.parametrize("name", commands())
def test_command_has_an_example_a_sentence_and_help_for_every_word(name: str) -> None:
    command = commands()[name]
    example, text = split_example(command.help)
    assert example.startswith(("  $ modelpack", "  $ source <(modelpack"))
    assert f"modelpack {name}" in example
    assert text.partition("\n")[0].endswith(".")
    assert len(short_help(command)) <= 64
    for parameter in command.params:
        assert parameter.help, parameter.name
        assert parameter.metavar or getattr(parameter, "is_flag", False), parameter.name


def test_lines_of_the_help_fit_the_terminal(cli: Cli) -> None:
    for words in (["--help"], ["deploy", "--help"], ["serve", "--help"]):
        shown = cli(*words, env={"COLUMNS": "72"}).out
        assert max(len(line) for line in shown.splitlines()) <= 72


def test_no_command_at_all_shows_the_help(cli: Cli) -> None:
    assert cli().out == cli("--help").out
    assert cli("models").out == cli("models", "--help").out


def test_version_is_printed(cli: Cli) -> None:
    assert cli("--version").out == f"modelpack {__version__}\n"


def test_python_m_modelpack_is_the_same_command(tmp_path: Path) -> None:
    module = [sys.executable, "-m", "modelpack"]
    one, two = (
        subprocess.run([*words, "biuld"], cwd=tmp_path, capture_output=True, check=False)
        for words in (module, [PROGRAM])
    )
    assert (one.returncode, one.stdout, one.stderr) == (two.returncode, two.stdout, two.stderr)


@pytest.mark.parametrize("words", ["--help", "deploy --help", "--version", "deployments"])
def test_help_loads_nothing_heavy_and_is_there_at_once(words: str) -> None:
    """At most 0.25 s of processor time are promised; twice that is allowed for a slow machine."""
    code = (
        "import sys, time; from modelpack.cli.main import main; main(sys.argv[1:]); "
        f"print(sorted(set(sys.modules) & set({HEAVY!r})), time.process_time(), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, *words.split()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    loaded, _, seconds = done.stderr.strip().rpartition(" ")
    assert loaded == "[]"
    assert float(seconds) < 0.5


def test_reference_page_is_the_one_that_the_code_writes() -> None:
    """After a change: python -m modelpack.cli.reference > docs/reference/cli.md."""
    assert (DOCS / "cli.md").read_text(encoding="utf-8") == reference_page()
