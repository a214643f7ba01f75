"""What every test may rely on: homes of its own, and tools that are missing are said.

    mark on a test ──► is its tool here? ──► run, or skip with the reason
    --require MARK     (continuous integration) the run fails when no test with that mark ran,
                       or when one of them was skipped

``MODELPACK_HOME`` is a fresh folder for each test; ``MODELPACK_CACHE``, which holds environments
that take long to make, is one for the whole run.  No other ``MODELPACK_…`` variable of the
developer's reaches a test, nor does their own settings file.
"""

from __future__ import annotations

import gc
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import hypothesis
import pytest

# Before anything imports onnxruntime: its Linux wheel reports home unless this is set.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# No test asserts a time, so none fails because the machine was busy.  (With CI set, hypothesis
# takes a profile of its own that has no deadline either.)
if "CI" not in os.environ:
    hypothesis.settings.register_profile("patient", deadline=None)
    hypothesis.settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require",
        action="append",
        default=[],
        metavar="MARK",
        help="fail the run unless tests with this mark ran and none of them was skipped",
    )


def pytest_configure(config: pytest.Config) -> None:
    if not is_worker(config):  # a worker has the surroundings of the process that started it
        for variable in [name for name in os.environ if name.startswith("MODELPACK_")]:
            del os.environ[variable]
        root = tempfile.mkdtemp(prefix="modelpack-tests-")
        config.add_cleanup(lambda: shutil.rmtree(root, ignore_errors=True))
        os.environ["MODELPACK_HOME"] = str(Path(root, "home"))
        os.environ["MODELPACK_CACHE"] = str(Path(root, "cache"))
        os.environ["XDG_CONFIG_HOME"] = str(Path(root, "config"))  # no user file of the developer's
    # What a build leaves out is compared: the projects of tests stay as they were written.
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    if not is_worker(config):
        config.pluginmanager.register(Required(config.getoption("--require")))


def is_worker(config: pytest.Config) -> bool:
    """Say whether this process runs tests for another one, which reports them."""
    return hasattr(config, "workerinput")


def pytest_collection_finish() -> None:
    """Let the garbage collector leave ten thousand tests alone.

    A server that starts or ends in this process would have them all looked through: half a second.
    """
    gc.collect()
    gc.freeze()
    for name in ("freeze", "unfreeze"):
        setattr(gc, name, lambda: None)


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a store of its own."""
    monkeypatch.setenv("MODELPACK_HOME", str(tmp_path_factory.mktemp("home")))


# --- servers ------------------------------------------------------------------------------------

READY_WITHIN_S = 60.0
URL = re.compile(r"http://127\.0\.0\.1:\d+")

Serve = Callable[..., str]


@pytest.fixture
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Start ``modelpack serve ARGUMENTS`` in a folder; returns the URL once it takes requests.

    The servers are stopped after the test, which fails unless each of them ends with status 0.
    """
    servers: list[subprocess.Popen[bytes]] = []

    def start(*arguments: object, cwd: Path, program: Path | None = None) -> str:
        log = tmp_path_factory.mktemp("serve") / "output"
        words = [program or Path(sys.executable).with_name("modelpack"), "serve", *arguments]
        with log.open("wb") as output:
            server = subprocess.Popen(
                [*map(str, words), "--port", "0"], cwd=cwd, stdout=output, stderr=subprocess.STDOUT
            )
        servers.append(server)
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline and server.poll() is None:
            if url := URL.search(log.read_text()):
                return url[0]
            time.sleep(0.02)
        pytest.fail(f"'modelpack serve' did not get ready:\n{log.read_text()}")

    yield start
    for server in servers:
        server.terminate()
    assert [end_of(server) for server in servers] == [0] * len(servers)


def end_of(server: subprocess.Popen[bytes]) -> int:
    """Return the status of a server that was told to end; one that does not is killed."""
    try:
        return server.wait(timeout=30)
    except subprocess.TimeoutExpired:
        server.kill()
        return server.wait()


# --- what is missing on this machine -----------------------------------------------------------


@cache
def missing_engine() -> str | None:
    """Return why tests cannot use a container engine, or None."""
    if "ENGINE_BASE_IMAGE" not in os.environ:
        return "ENGINE_BASE_IMAGE does not name a base image to build on"
    where = urlsplit(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
    # A plain socket: the Docker SDK leaks one when nobody answers, and warnings are errors.
    is_unix = where.scheme == "unix"
    with socket.socket(socket.AF_UNIX if is_unix else socket.AF_INET) as probe:
        probe.settimeout(10)
        try:
            probe.connect(where.path if is_unix else (where.hostname, where.port))
        except OSError as cause:
            return f"no container engine answers on '{where.geturl()}': {cause.strerror}"
    return None


@cache
def missing_browser() -> str | None:
    """Return why tests cannot drive a browser, or None."""
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            return f"'{program}' is not installed"
    return None


@cache
def missing_network() -> str | None:
    """Return why tests cannot install packages, or None."""
    trial = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "iniconfig"]
    done = subprocess.run(trial, capture_output=True, text=True, timeout=120, check=False)
    return None if done.returncode == 0 else "no package index answers"


@cache
def missing_gpu() -> str | None:
    """Return why tests cannot use a GPU, or None."""
    return None if shutil.which("nvidia-smi") else "there is no NVIDIA GPU"


MISSING: dict[str, Callable[[], str | None]] = {
    "engine": missing_engine,
    "browser": missing_browser,
    "network": missing_network,
    "gpu": missing_gpu,
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark, why in MISSING.items():
        if item.get_closest_marker(mark) is not None and (reason := why()) is not None:
            pytest.skip(reason)


# --- the marks that must have run --------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Let what a test printed travel between processes, which send UTF-8 alone."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report


class Required:
    """Counts the tests with a mark that must run, in the process that hears of all tests."""

    def __init__(self, marks: list[str]) -> None:
        self._counts: dict[str, Counter[str]] = {mark: Counter() for mark in marks}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for mark, counts in self._counts.items():
            if mark in report.keywords:
                if report.skipped:
                    counts["skipped"] += 1
                elif report.when == "call":
                    counts["ran"] += 1

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus == pytest.ExitCode.OK and any(self._complaints()):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for complaint in self._complaints():
            terminalreporter.write_line(complaint, red=True)

    def _complaints(self) -> Iterator[str]:
        for mark, counts in self._counts.items():
            if counts["ran"] == 0:
                yield f"FAILED --require {mark}: no test marked '{mark}' ran"
            if counts["skipped"]:
                yield f"FAILED --require {mark}: {counts['skipped']} of them were skipped"
