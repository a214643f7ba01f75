"""``modelpack serve``: a service that answers, and words that help to call it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelpack.cli.announce import FirstCall, curl_line
from modelpack.cli.serve import Flags, settings_for
from modelpack.config.layers import Layer
from modelpack.config.settings import ServerSettings
from modelpack.errors import UsageError

Cli = Callable[..., Any]

PROGRAM = Path(sysconfig.get_path("scripts")) / "modelpack"
WITHIN_S = 60.0


class Served:
    """``modelpack serve`` beside the test."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process = process
        self.out, self.err = folder / "out", folder / "err"

    def wait_for(self, text: str, where: Path) -> str:
        deadline = time.monotonic() + WITHIN_S
        while text not in where.read_text():
            if time.monotonic() > deadline or self.process.poll() is not None:
                pytest.fail(f"no {text!r}:\n{self.out.read_text()}\n{self.err.read_text()}")
            time.sleep(0.02)
        return where.read_text()

    def curl_line(self) -> str:
        """Return the command that it says to try."""
        said = self.wait_for("or open:", self.err)
        return next(line for line in said.splitlines() if line.startswith("try it:"))[8:].strip()

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=30)


Start = Callable[..., Served]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start ``modelpack serve ARGUMENTS``; it is killed after the test if it still runs."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*arguments: object, cwd: Path) -> Served:
        folder = tmp_path / f"served-{len(started)}"
        folder.mkdir()
        words = [PROGRAM, "serve", *map(str, arguments), "--port", "0"]
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            process = subprocess.Popen(words, cwd=cwd, stdout=out, stderr=err)
        started.append(process)
        return Served(process, folder)

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def shell(line: str, cwd: Path) -> str:
    done = subprocess.run(
        ["/bin/sh", "-c", line], cwd=cwd, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def test_project_is_served_and_the_curl_line_works(start: Start, project: Path) -> None:
    served = start(cwd=project)

    line = served.curl_line()

    assert served.out.read_text().startswith("http://127.0.0.1:")
    assert len(served.out.read_text().splitlines()) == 1
    assert json.loads(shell(line, project)).startswith("hello ")
    assert served.stop() == 0


def test_example_of_the_folder_is_taken_when_it_fits(start: Start, project: Path) -> None:
    (project / "example.json").write_text('{"name": "Ada", "times": 2}')
    line = start(cwd=project).curl_line()
    assert line.endswith("-d @example.json")
    assert json.loads(shell(line, project)) == "hello Ada hello Ada"


def test_import_string_and_folder_are_served_too(start: Start, project: Path) -> None:
    for source, cwd in (("service:Hello", project), (project.name, project.parent)):
        served = start(source, cwd=cwd)
        assert json.loads(shell(served.curl_line(), cwd)).startswith("hello ")
        assert served.stop(signal.SIGINT) == 0


def test_bare_model_is_served_without_code(start: Start, onnx_file: Path) -> None:
    served = start(onnx_file.name, cwd=onnx_file.parent)
    answer = json.loads(shell(served.curl_line(), onnx_file.parent))
    assert list(answer) == ["y"]


@pytest.mark.network
def test_bundle_is_served_in_a_clean_environment(
    start: Start, cli: Callable[..., Any], project: Path, tmp_path: Path
) -> None:
    (project / "requirements.lock").unlink()
    tag = cli("build", cwd=project).out.strip()
    (project / "service.py").write_text("raise SystemExit('the project, not the bundle')\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    served = start(tag, cwd=elsewhere)
    line = served.curl_line()

    assert json.loads(shell(line, elsewhere)).startswith("hello ")
    assert served.out.read_text().startswith("http://127.0.0.1:")
    command = Path(f"/proc/{served.process.pid}/cmdline").read_text().split("\0")
    assert command[1:4] == ["-I", "-m", "modelpack.server"]
    assert not command[0].startswith(sys.prefix)
    children = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children").read_text()
    assert children.split() == [], "whoever announced it is no child and no zombie of the server"
    assert served.stop() == 0


def call(**more: Any) -> FirstCall:
    facts: dict[str, Any] = {
        "route": "/predict",
        "example": {"x": [1]},
        "keys": frozenset({"x", "y"}),
        "required": frozenset({"x"}),
        "is_stream": False,
    }
    return FirstCall(**{**facts, **more})


def test_body_with_quotes_survives_the_shell(tmp_path: Path) -> None:
    text = 'it\'s "quoted" $HOME `id` \\ é'
    line = curl_line("http://h", call(example={"x": text}), folder=tmp_path)
    assert line is not None
    fake = 'curl() { for last; do :; done; printf %s "$last"; }; '
    assert json.loads(shell(fake + line, tmp_path)) == {"x": text}


@pytest.mark.parametrize("text", ["[1]", '{"z": 1}', '{"y": 1}', "not json", '{"x": 1, "z": 2}'])
def test_example_that_does_not_fit_is_not_offered(tmp_path: Path, text: str) -> None:
    (tmp_path / "example.json").write_text(text)
    line = curl_line("http://h", call(), folder=tmp_path)
    assert line is not None
    assert "@example.json" not in line


def test_stream_is_not_buffered_by_curl(tmp_path: Path) -> None:
    line = curl_line("http://h", call(is_stream=True), folder=tmp_path)
    assert line is not None
    assert line.startswith("curl -sN ")


def test_body_that_no_one_would_type_is_not_written_out(tmp_path: Path) -> None:
    assert curl_line("http://h", call(example={"x": [0.5] * 1000}), folder=tmp_path) is None


def test_flag_beats_variable_beats_file(monkeypatch: pytest.MonkeyPatch) -> None:
    file = Layer({"port": 1, "host": "file", "grace_s": 3})
    assert settings_for(file, Flags()).port == 1
    monkeypatch.setenv("MODELPACK_PORT", "2")
    monkeypatch.setenv("MODELPACK_HOST", "variable")
    assert settings_for(file, Flags(port=3)) == ServerSettings(port=3, host="variable", grace_s=3)


def test_bad_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELPACK_PORT", "http")
    with pytest.raises(UsageError, match="MODELPACK_PORT: must be a number, got 'http'"):
        settings_for(Layer(), Flags())


def test_telemetry_is_off_before_anything_is_imported(start: Start, project: Path) -> None:
    (project / "service.py").write_text(
        "import os\nassert os.environ['ORT_DISABLE_TELEMETRY'] == '1'\n"
        + (project / "service.py").read_text()
    )
    environ = dict(os.environ)
    os.environ.pop("ORT_DISABLE_TELEMETRY")
    try:
        start(cwd=project).curl_line()
    finally:
        os.environ.update(environ)


FAILS = """
import modelpack


@modelpack.service
class Fails:
    def __init__(self):
        raise ValueError("no weights")

    @modelpack.api
    def predict(self, x: int) -> int:
        return x
"""


@pytest.mark.parametrize(
    ("words", "ended", "said"),
    [
        (
            (".", "--face", "oip,kserv"),
            (2, "usage"),
            "--face: must be auto, none, or some of oip, kserve,",
        ),
        ((".", "--face", "oip,kserv"), (2, "usage"), "got 'kserv', did you mean 'kserve'?"),
        (("rows.npy",), (2, "usage"), "error[usage]: 'rows.npy' is not an ONNX model\n"),
        (("nosuch",), (3, "bundle-not-found"), "no bundle 'nosuch:latest'"),
        (
            ("plain",),
            (2, "attribute-not-found"),
            "'service' has no service, and one service is wanted",
        ),
        (
            ("fails", "--port", "0"),
            (1, "service-failed"),
            "'Fails' failed as it was made: ValueError: no weights",
        ),
    ],
)
def test_what_cannot_be_served_is_said_in_few_lines(
    inside: Cli, project: Path, words: tuple[str, ...], ended: tuple[int, str], said: str
) -> None:
    (project / "rows.npy").write_bytes(b"\x93NUMPY")
    (project / "plain").mkdir()
    (project / "plain" / "service.py").write_text("x = 1\n")
    (project / "fails").mkdir()
    (project / "fails" / "service.py").write_text(FAILS)

    done = inside("serve", *words, cwd=project)

    done.failed_well(*ended)
    assert said in done.err
    assert done.err.startswith("error["), "nothing was served that could end"
