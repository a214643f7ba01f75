"""``modelpack serve --reload``: new code answers, the model stays, broken code changes nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

import modelpack
from modelpack.cli.reload import Reloader, for_reload
from modelpack.config.settings import ServerSettings
from modelpack.errors import UsageError
from modelpack.frameworks.source import Source

PROGRAM = Path(sysconfig.get_path("scripts")) / "modelpack"
WITHIN_S = 60.0

SERVICE = """
import modelpack
from words import GREETING


@modelpack.service
class Greeter:
    model = modelpack.Model("counted:latest")

    @modelpack.api
    def greet(self) -> str:
        return f"{GREETING} {self.model['number']}"
"""


class Reloading:
    """``modelpack serve --reload`` beside the test."""

    def __init__(self, folder: Path, errors: Path) -> None:
        self.errors = errors
        with errors.open("wb") as stream:
            self.process = subprocess.Popen(
                [PROGRAM, "serve", "--port", "0", "--reload"],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                env={**os.environ, "MODELPACK_LOG_FORMAT": "json"},
            )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url, errors.read_text()

    def greet(self) -> str:
        answer: str = httpx.post(f"{self.url}/greet", json={}).json()
        return answer

    def wait_for(self, text: str, times: int = 1) -> None:
        end = time.monotonic() + WITHIN_S
        while self.errors.read_text().count(text) < times:
            assert time.monotonic() < end, self.errors.read_text()
            time.sleep(0.02)

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODELPACK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MODELPACK_CACHE", str(tmp_path / "cache"))
    modelpack.models.save("counted", {"number": 7})
    project = tmp_path / "greeter"
    project.mkdir()
    (project / "service.py").write_text(SERVICE)
    (project / "words.py").write_text("GREETING = 'hello'\n")
    return project


@pytest.fixture
def start(folder: Path, tmp_path: Path) -> Iterator[Callable[[], Reloading]]:
    started: list[Reloading] = []

    def run() -> Reloading:
        started.append(Reloading(folder, tmp_path / "errors"))
        return started[-1]

    yield run
    for one in started:
        one.process.kill()
        one.process.wait()
        assert one.process.stdout is not None
        one.process.stdout.close()


def test_new_code_answers_and_broken_code_changes_nothing(
    start: Callable[[], Reloading], folder: Path
) -> None:
    server = start()
    assert server.greet() == "hello 7"

    (folder / "words.py").write_text("GREETING = 'salve'\n")
    server.wait_for("'words.py' changed: loaded anew")
    assert server.greet() == "salve 7"

    (folder / "words.py").write_text("GREETING = 1 / 0\n")
    server.wait_for("the code from before goes on")
    said = server.errors.read_text()
    assert "ZeroDivisionError" in said
    assert "in 'words.py', line 1: GREETING = 1 / 0" in said
    assert "Traceback" not in said
    assert server.greet() == "salve 7"

    (folder / "words.py").write_text("GREETING = 'hallo'\n")
    server.wait_for("loaded anew", times=2)
    assert server.greet() == "hallo 7"

    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(WITHIN_S) == 0


def test_a_loaded_model_stays_and_only_another_one_is_loaded(
    start: Callable[[], Reloading], folder: Path
) -> None:
    """The pickled model prints as it is loaded."""
    (folder / "loud.py").write_text(
        "import sys\n"
        "class Loud(dict):\n"
        "    def __setstate__(self, state):\n"
        "        print('a model is loaded', file=sys.stderr, flush=True)\n"
        "        self.update(state)\n"
        "    def __reduce__(self):\n"
        "        return (Loud, (), dict(self))\n"
    )
    save = (
        "import sys; sys.path.insert(0, {folder!r})\n"
        "import loud, modelpack\n"
        "modelpack.models.save('counted', loud.Loud(number={number}))\n"
    )
    first, second = (save.format(folder=str(folder), number=n) for n in (8, 9))
    subprocess.run([sys.executable, "-c", first], check=True, env=os.environ)
    server = start()
    assert server.greet() == "hello 8"

    (folder / "words.py").write_text("GREETING = 'salve'\n")
    server.wait_for("loaded anew", times=1)
    assert server.greet() == "salve 8"
    assert server.errors.read_text().count("a model is loaded") == 1

    subprocess.run([sys.executable, "-c", second], check=True, env=os.environ)
    (folder / "words.py").write_text("GREETING = 'ave'\n")
    server.wait_for("loaded anew", times=2)
    assert server.greet() == "ave 9"
    assert server.errors.read_text().count("a model is loaded") == 2


def test_watching_costs_nothing(start: Callable[[], Reloading], folder: Path) -> None:
    server = start()
    (folder / "notes.txt").write_text("not code\n")
    before = server.cpu_s()
    time.sleep(1.0)

    assert server.cpu_s() - before < 0.3
    assert "changed" not in server.errors.read_text()


@pytest.mark.parametrize(
    ("path", "matters"),
    [
        ("service.py", True),
        ("package/inner.py", True),
        ("notes.txt", False),
        (".venv/lib/site.py", False),
        ("__pycache__/service.py", False),
        ("../elsewhere.py", False),
    ],
)
def test_only_code_of_the_project_matters(tmp_path: Path, path: str, matters: bool) -> None:
    from watchfiles import Change

    reloader = Reloader(Source("code", "", str(tmp_path / "project")))
    changed = os.path.normpath(tmp_path / "project" / path)

    assert reloader.matter([(Change.modified, changed)]) == ([path] if matters else [])


def test_of_a_bare_model_only_its_file_matters(tmp_path: Path) -> None:
    from watchfiles import Change

    reloader = Reloader(Source("model", "net.onnx", str(tmp_path)))
    changes = [(Change.modified, str(tmp_path / name)) for name in ("net.onnx", "a.py", "b.onnx")]

    assert reloader.matter(changes) == ["net.onnx"]


def test_what_asks_for_other_processes_is_refused() -> None:
    with pytest.raises(UsageError, match="workers asks for others"):
        for_reload(ServerSettings(workers=2))
    with pytest.raises(UsageError, match="runner asks for others"):
        for_reload(ServerSettings(runner="process"))
    assert for_reload(ServerSettings()).runner == "thread"
    assert for_reload(ServerSettings(runner="inline")).runner == "inline"
