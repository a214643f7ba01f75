"""All packages of a lock as files: which are chosen, that they are checked, that once is enough."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from modelpack.archive.environment import ensure_environment
from modelpack.archive.inputs import Inputs
from modelpack.archive.lock import ensure_lock, target_platform
from modelpack.archive.lockfile import read_lock
from modelpack.archive.platforms import Platform, host_platform, target_of
from modelpack.archive.requirements import checked_requirements
from modelpack.archive.wheelhouse import fetch_wheels, is_complete
from modelpack.errors import BuildError, DigestMismatchError
from modelpack.manifest import RUNTIME_REQUIREMENTS

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
AMD64 = Platform("x86_64")
ARM64 = Platform("aarch64")
LINUX = {AMD64: "py3-none-manylinux_2_17_x86_64", ARM64: "py3-none-manylinux_2_17_aarch64"}


def lock_of(folder: Path, *requirements: str, target: str = target_platform()) -> str:
    return ensure_lock(Inputs(requirements, PYTHON, target), folder / "requirements.lock")[0]


def names(wheels: Any) -> list[str]:
    return [wheel.file_name for wheel in wheels]


def test_every_package_of_the_lock_is_there(index: Any, tmp_path: Path) -> None:
    lock = lock_of(tmp_path, "tiny")
    wheels = fetch_wheels(lock, PYTHON, [host_platform()])
    assert names(wheels) == ["tiny-1.1-py3-none-any.whl", "tiny_helper-2.5-py3-none-any.whl"]
    assert is_complete(read_lock(lock), names(wheels), host_platform(), PYTHON)
    hashes = {one for package in read_lock(lock) for one in package.hashes}
    assert {wheel.hash for wheel in wheels} == hashes


def test_each_platform_gets_its_own_wheel(index: Any, tmp_path: Path) -> None:
    for tag in LINUX.values():
        index.add("fast", "1.0", tag=tag)
    lock = lock_of(tmp_path, "fast", "tiny==1.0", target=target_of((ARM64, AMD64)))
    wheels = fetch_wheels(lock, PYTHON, [ARM64, AMD64])
    assert names(wheels) == [
        *sorted(f"fast-1.0-{tag}.whl" for tag in LINUX.values()),
        "tiny-1.0-py3-none-any.whl",
    ]
    assert all(is_complete(read_lock(lock), names(wheels), one, PYTHON) for one in LINUX)


def test_a_second_time_needs_nothing(
    index: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = lock_of(tmp_path, "tiny")
    first = fetch_wheels(lock, PYTHON, [host_platform()])
    shutil.rmtree(index.folder)
    monkeypatch.setattr("modelpack.archive.wheelhouse.run_uv", lambda *_, **__: pytest.fail("ran"))
    assert fetch_wheels(lock, PYTHON, [host_platform()]) == first


def test_what_lies_here_already_is_not_fetched(index: Any, tmp_path: Path) -> None:
    from modelpack.archive.local_wheels import wheel_of

    own = wheel_of(index.beside(tmp_path / "own", "corp-lib", "1.0"))
    inputs = Inputs(("corp-lib", "tiny==1.0"), PYTHON, target_platform(), wheels=(own,))
    lock, _ = ensure_lock(inputs, tmp_path / "requirements.lock")
    wheels = fetch_wheels(lock, PYTHON, [host_platform()], known=[own])
    assert names(wheels) == ["corp_lib-1.0-py3-none-any.whl", "tiny-1.0-py3-none-any.whl"]
    assert wheels[0].path == own.path


def test_a_lock_whose_files_the_index_no_longer_has_says_so(index: Any, tmp_path: Path) -> None:
    lock = lock_of(tmp_path, "tiny==1.0")
    index.add("tiny", "1.0", requires=("other",))
    with pytest.raises(BuildError, match=r"no wheel of 'tiny' 1.0 .*that the lock names"):
        fetch_wheels(lock, PYTHON, [host_platform()])


@pytest.mark.parametrize(
    ("files", "complete"),
    [
        (["tiny-1.0-py3-none-any.whl"], True),
        (["tiny-1.0-py3-none-any.whl", "more-1-py3-none-any.whl", "README.md"], True),
        (["tiny-1.1-py3-none-any.whl"], False),
        (["tiny-1.0-cp399-cp399-manylinux_2_17_x86_64.whl"], False),
        ([], False),
    ],
)
def test_whether_wheels_are_all_that_a_lock_needs(files: list[str], complete: bool) -> None:
    lock = f"tiny==1.0 --hash=sha256:{'0a' * 32}\n"
    assert is_complete(read_lock(lock), files, AMD64, "3.11") is complete


def test_what_is_for_another_platform_is_not_missed() -> None:
    lock = f"tiny==1.0 ; platform_machine == 'aarch64' --hash=sha256:{'0a' * 32}\n"
    assert is_complete(read_lock(lock), [], AMD64, "3.11")
    assert not is_complete(read_lock(lock), [], ARM64, "3.11")


def test_an_environment_is_made_of_the_wheels_alone(index: Any, tmp_path: Path) -> None:
    lines = checked_requirements([*RUNTIME_REQUIREMENTS, "tiny"], None)
    lock = lock_of(tmp_path, *lines)
    folder = tmp_path / "bundle" / "wheels"
    folder.mkdir(parents=True)
    for wheel in fetch_wheels(lock, PYTHON, [host_platform()]):
        shutil.copy(wheel.path, folder)
    shutil.rmtree(index.folder)
    shutil.rmtree(os.environ["UV_CACHE_DIR"])
    assert ensure_environment(lock, PYTHON, wheels=folder).exists()


# Over HTTP


class Web:
    """An index of the simple kind on this machine; ``asked`` are the paths and logins it heard."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[tuple[str, str | None]] = []
        self.url = ""

    def add(self, wheel: Path) -> None:
        name = wheel.name.partition("-")[0].replace("_", "-")
        folder = self.root / "simple" / name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(wheel, folder)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        link = f'<a href="{wheel.name}#sha256={digest}">{wheel.name}</a>'
        (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>{link}</body></html>")


@pytest.fixture
def web(index: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    web = Web(tmp_path / "web")

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            web.asked.append((self.path, self.headers.get("Authorization")))
            super().do_GET()

        def log_message(self, *_: Any) -> None: ...

    root = str(web.root)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=root)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        web.url = f"127.0.0.1:{server.server_address[1]}/simple"
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://{web.url}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        try:
            yield web
        finally:
            server.shutdown()
            thread.join()


def test_wheels_come_from_an_index_with_its_login(
    web: Web, index: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.add(index.folder / "tiny-1.0-py3-none-any.whl")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://me:hunter2@{web.url}")
    lock = lock_of(tmp_path, "tiny")
    web.asked.clear()
    [wheel] = fetch_wheels(lock, PYTHON, [host_platform()])
    assert wheel.path.read_bytes() == (index.folder / wheel.file_name).read_bytes()
    login = base64.b64encode(b"me:hunter2").decode()
    assert (f"/simple/tiny/{wheel.file_name}", f"Basic {login}") in web.asked
    cached = [file for file in Path(os.environ["MODELPACK_CACHE"]).rglob("*") if file.is_file()]
    assert not any(b"hunter2" in file.read_bytes() for file in cached)


def test_other_bytes_than_the_lock_names_are_refused_and_not_kept(
    web: Web, index: Any, tmp_path: Path
) -> None:
    """The index still tells the right digest."""
    web.add(index.folder / "tiny-1.0-py3-none-any.whl")
    lock = lock_of(tmp_path, "tiny")
    (web.root / "simple/tiny/tiny-1.0-py3-none-any.whl").write_bytes(b"something else")
    with pytest.raises(DigestMismatchError, match="other bytes came"):
        fetch_wheels(lock, PYTHON, [host_platform()])
    assert list(Path(os.environ["MODELPACK_CACHE"]).rglob("*.whl")) == []


def test_a_file_that_is_not_there_is_named(web: Web, index: Any, tmp_path: Path) -> None:
    web.add(index.folder / "tiny-1.0-py3-none-any.whl")
    lock = lock_of(tmp_path, "tiny")
    (web.root / "simple/tiny/tiny-1.0-py3-none-any.whl").unlink()
    with pytest.raises(BuildError, match=r"cannot fetch 'tiny-1\.0-py3-none-any\.whl'") as caught:
        fetch_wheels(lock, PYTHON, [host_platform()])
    assert "network" in (caught.value.hint or "")
