"""S10 and F41: packages that somebody smuggles in, and builds without a network.

Everything is real: the command as a process, small wheels, indexes that answer over HTTP.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from modelpack.archive.lockfile import read_lock
from modelpack.manifest import RUNTIME_REQUIREMENTS

SERVICE = """
import modelpack


@modelpack.service
class Hello:
    @modelpack.api
    def greet(self, name: str) -> str:
        return f"hello {name}"
"""


def write_wheel(folder: Path, name: str, version: str, requires: tuple[str, ...] = ()) -> Path:
    """Write a wheel of one module that holds its version."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    files = {
        f"{module}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = [
        f"{path},sha256={urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},{len(text)}\n"
        for path, text in files.items()
    ]
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in (files | {f"{info}/RECORD": "".join(lines)}).items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return wheel


@dataclass
class Index:
    """A package index of the simple kind that answers at ``url``."""

    root: Path
    url: str
    asked: list[str] = field(default_factory=list)

    def add(self, name: str, version: str, *, requires: tuple[str, ...] = ()) -> Path:
        """Publish a wheel of one module."""
        folder = self.root / "simple" / name
        wheel = write_wheel(folder, name, version, requires)
        digests = {w: hashlib.sha256(w.read_bytes()).hexdigest() for w in folder.glob("*.whl")}
        links = [
            f'<a href="{w.name}#sha256={digest}">{w.name}</a>' for w, digest in digests.items()
        ]
        (folder / "index.html").write_text(
            f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>"
        )
        return wheel


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Callable[[str], Index]]:
    """Return a function that starts an index; all of them end with the test."""
    with ExitStack() as running:

        def start(name: str) -> Index:
            made = Index(tmp_path / name, "")

            class Handler(SimpleHTTPRequestHandler):
                def do_GET(self) -> None:
                    made.asked.append(self.path)
                    super().do_GET()

                def log_message(self, *_: Any) -> None: ...

            handler = partial(Handler, directory=str(made.root))
            server = running.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            running.callback(thread.join)
            running.callback(server.shutdown)
            made.url = f"http://127.0.0.1:{server.server_address[1]}/simple"
            return made

        yield start


@pytest.fixture
def public(index: Callable[[str], Index]) -> Index:
    """An index with all that the server needs, as empty packages."""
    made = index("public")
    for line in RUNTIME_REQUIREMENTS:
        requirement = Requirement(line)
        fits = next(one for one in ("99.0", "0.99") if one in requirement.specifier)
        made.add(requirement.name, fits)
    return made


@dataclass
class Project:
    """A project, and the machine that it is built on."""

    root: Path
    env: dict[str, str]

    def settings(self, **said: Any) -> None:
        (self.root / "modelpack.yaml").write_text(json.dumps({"name": "hello", **said}))

    def build(self, *options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "modelpack", "build", *options]
        return subprocess.run(
            command, cwd=self.root, env=self.env, capture_output=True, text=True, check=False
        )

    @property
    def locked(self) -> dict[str, str]:
        """Versions in the lock of the project, by name."""
        text = (self.root / "requirements.lock").read_text()
        assert "127.0.0.1" not in text
        return {one.name: one.version for one in read_lock(text)}


@pytest.fixture
def project(tmp_path: Path, public: Index) -> Project:
    root = tmp_path / "hello"
    root.mkdir()
    (root / "service.py").write_text(SERVICE)
    foreign = ("PIP_", "UV_", "MODELPACK_")
    env = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    env |= {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": public.url,
        "UV_CACHE_DIR": str(tmp_path / "uv"),
        "UV_HTTP_RETRIES": "0",
        "NO_PROXY": "127.0.0.1",
        "MODELPACK_HOME": str(tmp_path / "home"),
        "MODELPACK_CACHE": str(tmp_path / "cache"),
    }
    made = Project(root, env)
    made.settings(requirements=[])
    return made


def refused(done: subprocess.CompletedProcess[str], status: int) -> str:
    """Return what a failed build said, in the form of all errors."""
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    assert "Traceback" not in done.stderr
    start = done.stderr.index("error[")
    assert len(done.stderr[start:].strip().splitlines()) <= 4
    return done.stderr[start:]


def bundles(project: Project) -> list[Path]:
    home = Path(project.env["MODELPACK_HOME"]) / "store"
    return [home / "index.json"] if (home / "index.json").exists() else []


# S10: package specification injection and dependency confusion


SMUGGLED = (
    "--index-url=http://127.0.0.1:9/simple",
    "-i http://127.0.0.1:9/simple",
    "--find-links=/tmp",
    "-r /etc/passwd",
    "tiny --index-url=http://127.0.0.1:9/simple",
    "tiny\n--index-url http://127.0.0.1:9/simple",
    "-e git+http://127.0.0.1:9/tiny",
)


def test_s10_options_among_requirements_never_reach_the_resolver(
    project: Project, public: Index
) -> None:
    project.settings(requirements=["tiny", *SMUGGLED])
    done = project.build("-v")
    assert done.returncode == 2
    for number in range(1, len(SMUGGLED) + 1):
        assert f"requirements[{number}]: " in done.stderr
    assert public.asked == []
    assert bundles(project) == []


def test_s10_a_url_among_requirements_never_reaches_the_resolver(
    project: Project, public: Index
) -> None:
    project.settings(requirements=["tiny @ http://127.0.0.1:9/tiny-1.0-py3-none-any.whl"])
    assert "is a path" in refused(project.build(), 2)
    assert public.asked == []


def test_s10_a_hashed_file_that_names_an_index_is_refused(project: Project, public: Index) -> None:
    wheel = public.add("tiny", "1.0")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lines = f"--extra-index-url http://127.0.0.1:9/simple\ntiny==1.0 --hash=sha256:{digest}\n"
    (project.root / "requirements.txt").write_text(lines)
    (project.root / "modelpack.yaml").unlink()
    assert "no pinned and hashed package" in refused(project.build(), 4)
    assert bundles(project) == []


def test_s10_a_second_index_with_a_higher_version_is_not_taken(
    project: Project, public: Index, index: Callable[[str], Index]
) -> None:
    """As in the attack on torchtriton: the public index has the private name, and a higher number."""
    private = index("private")
    private.add("corp-lib", "1.0")
    public.add("corp-lib", "99.0", requires=("evil",))
    public.add("evil", "1.0")
    project.env["PIP_EXTRA_INDEX_URL"] = private.url
    project.settings(requirements=["corp-lib"])
    done = project.build()
    assert done.returncode == 0, done.stderr
    assert project.locked["corp-lib"] == "1.0"
    assert "evil" not in project.locked


def test_s10_a_wheel_in_the_project_is_not_replaced_by_an_index(
    project: Project, public: Index
) -> None:
    """Neither by a higher version, nor by what the index says of the same one."""
    own = write_wheel(project.root / "wheels", "corp-lib", "1.0")
    public.add("corp-lib", "1.0", requires=("evil",))
    public.add("corp-lib", "99.0", requires=("evil",))
    public.add("evil", "1.0")
    public.add("app", "1.0", requires=("corp-lib",))
    project.settings(requirements=["app"])
    done = project.build()
    assert done.returncode == 0, done.stderr
    assert project.locked["corp-lib"] == "1.0"
    assert "evil" not in project.locked
    lock = read_lock((project.root / "requirements.lock").read_text())
    [locked] = [one for one in lock if one.name == "corp-lib"]
    assert locked.hashes == ("sha256:" + hashlib.sha256(own.read_bytes()).hexdigest(),)


def test_s10_other_bytes_than_the_project_locked_are_refused(
    project: Project, public: Index
) -> None:
    """The index has the version that the project's own lock names, with another content."""
    wheel = public.add("tiny", "1.0")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (project.root / "requirements.txt").write_text(f"tiny==1.0 --hash=sha256:{digest}\n")
    (project.root / "modelpack.yaml").unlink()
    public.add("tiny", "1.0", requires=("evil",))
    public.add("evil", "1.0")
    assert "other files of 'tiny' 1.0" in refused(project.build(), 4)
    assert bundles(project) == []
    assert not (project.root / "requirements.lock").exists()


@pytest.mark.parametrize("option", ["--with-wheels", "--prove"])
def test_s10_a_wrong_hash_stops_the_build_before_anything_is_stored(
    project: Project, public: Index, option: str
) -> None:
    """The bytes behind an unchanged lock are no longer those that it names."""
    wheel = public.add("tiny", "1.0")
    project.settings(requirements=["tiny"])
    assert project.build("--version", "1").returncode == 0
    before = [file.read_bytes() for file in bundles(project)]
    shutil.rmtree(project.env["UV_CACHE_DIR"])

    wheel.write_bytes(write_wheel(project.root.parent / "evil", "tiny", "1.0", ("x",)).read_bytes())
    done = project.build("--version", "2", option)
    said = refused(done, 4 if option == "--with-wheels" else 1).lower()
    assert "tiny" in said
    assert "hash" in said or "other bytes came" in said
    assert [file.read_bytes() for file in bundles(project)] == before


# F41: no network


@pytest.fixture
def cut_off(project: Project) -> Callable[[], None]:
    """Return a function that takes the network away: no index answers, and uv's cache is gone."""

    def cut() -> None:
        shutil.rmtree(project.env["UV_CACHE_DIR"], ignore_errors=True)
        project.env["PIP_INDEX_URL"] = "http://127.0.0.1:9/simple"

    return cut


def test_f41_an_unchanged_lock_builds_without_a_network(
    project: Project, public: Index, cut_off: Callable[[], None]
) -> None:
    public.add("tiny", "1.0")
    project.settings(requirements=["tiny"])
    first = project.build("--with-wheels")
    assert first.returncode == 0, first.stderr
    cut_off()
    again = project.build("--with-wheels")
    assert (again.returncode, again.stdout) == (0, first.stdout), again.stderr
    (project.root / "service.py").write_text(SERVICE.replace("hello", "good day"))
    changed = project.build("--with-wheels")
    assert changed.returncode == 0, changed.stderr
    assert changed.stdout != first.stdout


def test_f41_a_bundle_with_its_wheels_is_proved_without_a_network(
    project: Project, public: Index, cut_off: Callable[[], None]
) -> None:
    """All that the proof installs lies in the bundle; the server's packages are empty ones here."""
    project.settings(requirements=[])
    assert project.build("--with-wheels").returncode == 0
    cut_off()
    done = project.build("--with-wheels", "--prove")
    said = refused(done, 1)
    # The lock was installed; only then did the empty packages fail the server's own import.
    assert "cannot be imported with what the lock installs" in said


@pytest.mark.parametrize("options", [("--relock",), ("--with-wheels",), ("--prove",)])
def test_f41_what_needs_the_network_says_so_by_name(
    project: Project, public: Index, cut_off: Callable[[], None], options: tuple[str, ...]
) -> None:
    public.add("tiny", "1.0")
    project.settings(requirements=["tiny"])
    assert project.build().returncode == 0
    lock = (project.root / "requirements.lock").read_bytes()
    cut_off()
    said = refused(project.build(*options), 1)
    assert "http://127.0.0.1:9 cannot be reached" in said
    assert "needs the network" in said
    assert (project.root / "requirements.lock").read_bytes() == lock
