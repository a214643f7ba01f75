"""F31: writers that are killed at every single call that changes the disk.

For each n a fresh copy of a store, a child process that does one thing to it, and SIGKILL as the
child comes to its n-th call, or when half of a write is done.  The child is a fork, so thousands
of them take seconds; ``strace`` does the same to whole commands, from outside.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from modelpack.store import Kind, Store
from modelpack.store.system import Io
from modelpack.tag import Tag


class DyingIo(Io):
    """Ends this process by SIGKILL as it comes to its n-th call."""

    def __init__(self, at: int, *, half: bool) -> None:
        self._left = at
        self._half = half

    def _count(self) -> bool:
        self._left -= 1
        if self._left == 0 and not self._half:
            os.kill(os.getpid(), signal.SIGKILL)
        return self._left == 0

    def make_folder(self, path: Path) -> None:
        self._count()
        super().make_folder(path)

    def create(self, name: str, folder: int) -> int:
        self._count()
        return super().create(name, folder)

    def write(self, handle: int, data: bytes | memoryview) -> int:
        if self._count():
            super().write(handle, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return super().write(handle, data)

    def seal(self, handle: int) -> None:
        self._count()
        super().seal(handle)

    def sync(self, handle: int) -> None:
        self._count()
        super().sync(handle)

    def rename(self, name: str, folder: int, new_name: str, new_folder: int) -> None:
        self._count()
        super().rename(name, folder, new_name, new_folder)

    def link(self, name: str, folder: int, new_folder: int) -> None:
        self._count()
        super().link(name, folder, new_folder)

    def unlink(self, name: str, folder: int) -> None:
        self._count()
        super().unlink(name, folder)

    def remove_folder(self, path: Path) -> None:
        self._count()
        super().remove_folder(path)


@dataclass(frozen=True)
class Stage:
    """A store in the state before something is done to it."""

    root: Path
    archive: Path
    """Holds the bundle ``other:1``, which the store does not have."""
    make: Callable[[Store], Any]


def first_write(stage: Stage, store: Store) -> None:
    stage.make(store).model("first")


def build_model(stage: Stage, store: Store) -> None:
    stage.make(store).model("new", weights=b"n" * 2_500_000)


def build_bundle(stage: Stage, store: Store) -> None:
    model = store.find(Tag("clf"), Kind.MODEL)
    stage.make(store).bundle("new", models=(model,))


def import_archive(stage: Stage, store: Store) -> None:
    store.import_(stage.archive)


def delete(_stage: Stage, store: Store) -> None:
    store.delete(store.find(Tag("digits"), Kind.BUNDLE))


def undelete(_stage: Stage, store: Store) -> None:
    store.undelete(Tag("gone"), Kind.BUNDLE)


def tag(_stage: Stage, store: Store) -> None:
    store.tag(store.find(Tag("digits"), Kind.BUNDLE), "production")


def gc(_stage: Stage, store: Store) -> None:
    store.gc()


def attach(_stage: Stage, store: Store) -> None:
    entry = store.find(Tag("digits"), Kind.BUNDLE)
    store.attach(entry, artifact_type="application/x", media_type="text/plain", data=b"more")


ACTIONS = [
    first_write,
    build_model,
    build_bundle,
    import_archive,
    delete,
    undelete,
    tag,
    gc,
    attach,
]


@pytest.fixture
def stage(shelf: Any, memory: Path) -> Stage:
    model = shelf.model()
    entry = shelf.bundle(models=(model,))
    statement = {"artifact_type": "application/x", "media_type": "text/plain"}
    shelf.store.attach(entry, data=b"said", **statement)
    gone = shelf.bundle("gone", files={"only.bin": b"here" * 100})
    shelf.store.attach(gone, data=b"said of gone", **statement)
    shelf.store.delete(gone)
    other = type(shelf)(shelf.sources, Store(memory / "other"))
    archive = other.store.export(other.bundle("other", models=(other.model("more"),)), memory)
    return Stage(shelf.store.root, archive, lambda store: type(shelf)(memory / "made", store))


def killed_at(stage: Stage, action: Callable[..., None], root: Path, at: int, *, half: bool) -> int:
    """Do it in a child that dies at its n-th call; return the signal that ended it, or 0."""
    child = os.fork()
    if child == 0:
        try:
            action(stage, Store(root, io=DyingIo(at, half=half)))
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status)
    assert os.WEXITSTATUS(status) == 0
    return 0


def lay_out(stage: Stage, action: Callable[..., None], root: Path) -> Path:
    """Make a copy of the store, or nothing at all for the first write of all."""
    if action is not first_write:
        shutil.copytree(stage.root, root)
    return root


def state(root: Path) -> tuple[set[str], set[str]]:
    """Return the tags, after everything was found whole, and the deleted tags."""
    store = Store(root)
    entries = store.list()
    for entry in entries:
        assert entry.damage is None
        store.verify(entry)
    return {str(entry.tag) for entry in entries}, {str(one.tag) for one in store.deleted()}


def check_left(stage: Stage, root: Path) -> None:
    """The next command that writes clears up, and no blob is without a use."""
    stage.make(Store(root)).model("next")
    assert list((root / ".staging").iterdir()) == []
    assert {item.what for item in Store(root).plan_gc().items} <= {"bundle"}


@pytest.mark.parametrize("action", ACTIONS)
def test_f31_a_writer_killed_at_any_call_leaves_the_state_before_or_after(
    action: Callable[..., None], stage: Stage, memory: Path
) -> None:
    root = lay_out(stage, action, memory / "done")
    before = state(root)
    assert killed_at(stage, action, root, 0, half=False) == 0
    after = state(root)

    kills = calls = 0
    while True:
        calls += 1
        root = lay_out(stage, action, memory / "killed")
        if not killed_at(stage, action, root, calls, half=False):
            shutil.rmtree(root)
            break
        kills += check_killed(stage, action, root, before, after)
    for at in range(1, calls):
        root = lay_out(stage, action, memory / "killed")
        if killed_at(stage, action, root, at, half=True):
            kills += check_killed(stage, action, root, before, after)
        else:
            shutil.rmtree(root)
    print(f"{action.__name__}: {kills} kills")
    assert kills >= calls  # each call, and at least one write once more in its middle


def check_killed(
    stage: Stage, action: Callable[..., None], root: Path, before: object, after: object
) -> int:
    found = state(root)
    assert found in (before, after)
    check_left(stage, root)
    if found == before != after:
        action(stage, Store(root))
    tags, deleted = state(root)
    assert (tags - {"next:1"}, deleted) == after
    shutil.rmtree(root)
    return 1


# --- whole commands, killed from outside ---------------------------------------------------------

SYSCALLS = {
    "rename": "rename,renameat,renameat2",
    "fsync": "fsync,fdatasync",
    "link": "link,linkat",
    "unlink": "unlink,unlinkat,rmdir",
    "mkdir": "mkdir,mkdirat",
    "write": "write,pwrite64,writev",
    "mode": "chmod,fchmod,fchmodat",
    "flock": "flock",
}
COMMANDS = {
    "import": ["import", "ARCHIVE"],
    "tag": ["tag", "digits:1", "production"],
    "delete": ["delete", "digits:1"],
    "undelete": ["undelete", "gone:1"],
    "gc": ["gc"],
}
SHORT = [("import", "rename")]
LONG = [(command, call) for command in COMMANDS for call in SYSCALLS]


def straced(home: Path, words: list[str], *options: str) -> int:
    """Run ``modelpack WORDS`` below strace and return how it ended; negative: by that signal."""
    program = [sys.executable, "-m", "modelpack", *words]
    trace = ["strace", "-f", "-qq", "-o", str(home.parent / "trace"), *options]
    # Coverage writes at the end of a process, and every write would be a kill.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    environment = {**kept, "MODELPACK_HOME": str(home)}
    done = subprocess.run([*trace, *program], capture_output=True, env=environment, check=False)
    assert b"Traceback" not in done.stderr
    return int(done.returncode)


@pytest.fixture(scope="session")
def can_trace(tmp_path_factory: pytest.TempPathFactory) -> None:
    log = tmp_path_factory.mktemp("strace") / "log"
    command = ["strace", "-f", "-qq", "-o", str(log), "-e", "inject=getppid:signal=KILL", "true"]
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace or inject here")


@pytest.mark.parametrize(
    ("command", "calls"),
    [
        *SHORT,
        *(pytest.param(*one, marks=pytest.mark.long) for one in LONG if one not in SHORT),
    ],
)
def test_f31_a_command_killed_at_any_call_of_the_system_leaves_a_whole_store(
    command: str, calls: str, stage: Stage, memory: Path, can_trace: None
) -> None:
    words = [str(stage.archive) if word == "ARCHIVE" else word for word in COMMANDS[command]]
    before = state(stage.root)
    shutil.copytree(stage.root, memory / "done" / "store")
    assert straced(memory / "done", words, "-e", f"trace={SYSCALLS[calls]}") == 0
    after = state(memory / "done" / "store")

    kills = 0
    for count in range(1, 1000):
        home = memory / "killed"
        shutil.copytree(stage.root, home / "store")
        inject = f"inject={SYSCALLS[calls]}:signal=KILL:when={count}"
        ended_by = straced(home, words, "-e", f"trace={SYSCALLS[calls]}", "-e", inject)
        if ended_by == 0:
            break
        assert ended_by == -signal.SIGKILL
        assert state(home / "store") in (before, after)
        check_left(stage, home / "store")
        shutil.rmtree(home)
        kills += 1
    print(f"{command}, {calls}: {kills} kills")
    assert kills or calls in ("link", "unlink", "mode", "mkdir")
