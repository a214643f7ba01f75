"""Many writers at once, and writers that die: nothing is lost, nothing is half."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import NotFoundError, StoreError
from modelpack.store import Kind, Store

WRITER = textwrap.dedent(
    """
    import hashlib, sys, tempfile
    from pathlib import Path
    from modelpack.errors import ModelpackError
    from modelpack.manifest import FileRecord, ModelRecord
    from modelpack.store import Store

    root, name, version, text, count, size = sys.argv[1:]
    store = Store(Path(root))
    print("ready", flush=True)
    for number in range(int(count)):
        data = (text if text != "-" else f"{name}-{number}").encode().ljust(int(size), b".")
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "w.bin").write_bytes(data)
            file = FileRecord(
                path="w.bin", mode=0o644, size=len(data), sha256=hashlib.sha256(data).hexdigest()
            )
            record = ModelRecord(name=name, framework="onnx", files=(file,))
            try:
                given = version if version != "-" else f"v{number}"
                print(store.add_model(record, Path(folder), version=given).entry.digest, flush=True)
            except ModelpackError as error:
                print(error.exit_code, error, flush=True)
    """
)


DELETER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from modelpack.store import Kind, Store
    from modelpack.tag import Tag

    store = Store(Path(sys.argv[1]))
    entry = store.find(Tag("clf", sys.argv[2]), Kind.MODEL)
    print("ready", flush=True)
    sys.stdin.read()
    store.delete(entry)
    """
)


def start(
    root: Path, name: str, *, version: str = "-", text: str = "-", count: int = 1, size: int = 100
) -> subprocess.Popen[str]:
    arguments = [str(root), name, version, text, str(count), str(size)]
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, *arguments], stdout=subprocess.PIPE, text=True
    )


def finish(writers: Sequence[subprocess.Popen[str]]) -> list[list[str]]:
    lines = [writer.communicate(timeout=120)[0].splitlines()[1:] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * len(writers)
    return lines


def is_whole(store: Store, into: Path) -> bool:
    """Say whether everything that is listed can be used."""
    for number, entry in enumerate(store.list()):
        assert entry.damage is None
        store.unpack(entry, into / str(number))
    return True


def test_writers_at_once_lose_nothing(store: Store, tmp_path: Path) -> None:
    writers = [start(store.root, f"model-{number}", count=6) for number in range(5)]
    finish(writers)
    found = {str(entry.tag) for entry in store.list()}
    assert found == {f"model-{one}:v{number}" for one in range(5) for number in range(6)}
    assert is_whole(store, tmp_path / "out")


def test_the_same_content_at_once_is_one_entry(store: Store) -> None:
    writers = [start(store.root, "clf", version="1", text="same") for _ in range(4)]
    assert len({line for lines in finish(writers) for line in lines}) == 1
    assert len(store.list()) == 1


def test_other_content_at_once_lets_exactly_one_win(store: Store) -> None:
    writers = [start(store.root, "clf", version="1", text=f"other {one}") for one in range(4)]
    answers = [line for lines in finish(writers) for line in lines]
    assert len([line for line in answers if line.startswith("sha256:")]) == 1
    assert len([line for line in answers if line.startswith("5 'clf:1' already exists")]) == 3
    assert len(store.list()) == 1


def test_deleting_while_others_build_on_the_same_blobs_breaks_nothing(
    workshop: Any, store: Store, tmp_path: Path
) -> None:
    """The builder links what it shares before it looks at anything else."""
    for number in range(8):
        model = workshop.model("clf", f"v{number}")
        with subprocess.Popen(
            [sys.executable, "-c", DELETER, str(store.root), f"v{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as deleter:
            assert deleter.stdin is not None
            assert deleter.stdout is not None
            assert deleter.stdout.readline() == "ready\n"
            deleter.stdin.close()
            # Either the bundle was first and keeps the blobs, or the model was gone before.
            with contextlib.suppress(NotFoundError):
                workshop.bundle("digits", code=str(number).encode(), models=(model,))
        assert deleter.returncode == 0
    assert store.list(Kind.MODEL) == []
    assert is_whole(store, tmp_path / "out")


def test_a_writer_killed_at_any_moment_leaves_a_whole_store(store: Store, tmp_path: Path) -> None:
    chance = random.Random(7)
    for round_ in range(10):
        with start(store.root, f"model-{round_}", count=200, size=300_000) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            for _ in range(chance.randrange(3)):
                writer.stdout.readline()
            try:
                writer.wait(timeout=chance.random() / 20)
            except subprocess.TimeoutExpired:
                writer.send_signal(signal.SIGKILL)
        assert all(entry.damage is None for entry in store.list())
    finish([start(store.root, "last")])
    assert is_whole(store, tmp_path / "out")
    assert list((store.root / ".staging").iterdir()) == []
    used = {entry.digest for entry in store.list()}
    used |= {layer.digest for entry in store.list() for layer in entry.layers}
    blobs = {f"sha256:{path.name}" for path in (store.root / "blobs" / "sha256").iterdir()}
    assert len(blobs - used) == len(store.list())  # what is left is one config for each entry


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """Give a file system of one megabyte, where this may be had."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "modelpack-test", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system of one megabyte cannot be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_really_full_leaves_no_entry(workshop: Any, small_disk: Path) -> None:
    store = Store(small_disk / "store")
    shop = type(workshop)(workshop.root, store)
    kept = shop.model("kept", weights=b"w" * 200_000)
    with pytest.raises(StoreError, match="no space left") as caught:
        shop.model("big", weights=b"w" * 2_000_000)
    assert caught.value.exit_code == 1
    assert store.list() == [kept]
    assert list((store.root / ".staging").iterdir()) == []
    assert shop.model("small", weights=b"w" * 200_001)
