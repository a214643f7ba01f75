from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from modelpack.errors import DigestMismatchError, StoreError
from modelpack.manifest import sha256_digest
from modelpack.store.durable import (
    Blob,
    blob_name,
    locked,
    open_folder,
    open_staging,
    readable_errors,
)
from modelpack.store.system import Io


def test_a_blob_is_named_by_its_digest_and_read_only(tmp_path: Path) -> None:
    with open_staging(tmp_path) as (staging, _):
        blob = staging.write_bytes(b"weights")
        assert blob == Blob(sha256_digest(b"weights"), 7)
        (written,) = next(tmp_path.iterdir()).iterdir()
        assert written.name == blob.hex
        assert stat.S_IMODE(written.stat().st_mode) == 0o444


def test_other_bytes_than_expected_are_refused(tmp_path: Path) -> None:
    with open_staging(tmp_path) as (staging, _), pytest.raises(DigestMismatchError):
        staging.write(lambda sink: sink.write(b"other"), expected=sha256_digest(b"weights"))


def test_the_staging_folder_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with pytest.raises(RuntimeError), open_staging(tmp_path) as (staging, _):
            staging.write_bytes(b"x")
            assert stat.S_IMODE(next(tmp_path.iterdir()).stat().st_mode) == 0o700
            raise RuntimeError
    finally:
        os.umask(before)
    assert list(tmp_path.iterdir()) == []


HOLD = """
    import sys, time
    from pathlib import Path
    from modelpack.store.durable import open_staging
    with open_staging(Path(sys.argv[1])) as (staging, _):
        staging.write_bytes(b"half an entry")
        print("ready", flush=True)
        time.sleep(60)
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    """Start a writer in another process and wait until it has staged something."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLD), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_only_what_dead_writers_left_is_removed(tmp_path: Path) -> None:
    with hold(tmp_path) as living, hold(tmp_path) as dying:
        dying.send_signal(signal.SIGKILL)
        dying.wait()
        assert len(list(tmp_path.iterdir())) == 2
        with open_staging(tmp_path) as (_, found_dead):
            assert found_dead
        (left,) = tmp_path.iterdir()
        assert len(list(left.iterdir())) == 1
        with open_staging(tmp_path) as (_, found_dead):
            assert not found_dead
        living.kill()


@pytest.mark.parametrize("call", ["open", "flock"])
def test_a_folder_that_is_taken_for_a_dead_one_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Another writer may come between making, opening and locking it."""
    module = os if call == "open" else fcntl
    real, taken = getattr(module, call), []

    def slow(*arguments: object, **options: object) -> object:
        if not taken:
            (fresh,) = tmp_path.iterdir()
            taken.append(fresh.rmdir())
        return real(*arguments, **options)

    monkeypatch.setattr(module, call, slow)
    with open_staging(tmp_path) as (staging, _):
        assert staging.write_bytes(b"x").size == 1
    assert taken


def test_a_pinned_blob_outlives_its_deletion(tmp_path: Path) -> None:
    blobs = tmp_path / "blobs"
    staged = tmp_path / "staging"
    blobs.mkdir()
    staged.mkdir()
    blob = Blob(sha256_digest(b"weights"), 7)
    (blobs / blob.hex).write_bytes(b"weights")
    with open_staging(staged) as (staging, _), open_folder(blobs) as folder:
        staging.pin(folder, blob)
        (blobs / blob.hex).unlink()
        staging.publish(folder)
    assert (blobs / blob.hex).read_bytes() == b"weights"


def test_a_blob_that_is_replaced_by_its_equal_while_it_is_pinned_is_pinned(tmp_path: Path) -> None:
    """The name never goes away, yet link(2) says so while another writer renames over it."""
    blobs, staged = tmp_path / "blobs", tmp_path / "staging"
    blobs.mkdir()
    staged.mkdir()
    blob = Blob(sha256_digest(b"weights"), 7)
    (blobs / blob.hex).write_bytes(b"weights")

    class Replaced(Io):
        moments = 2

        def link(self, name: str, folder: int, new_folder: int) -> None:
            if self.moments:
                self.moments -= 1
                raise FileNotFoundError(errno.ENOENT, "its old inode has no name", name)
            super().link(name, folder, new_folder)

    with open_staging(staged, Replaced()) as (staging, _), open_folder(blobs) as folder:
        staging.pin(folder, blob)
        with staging.open_blob(blob.digest) as pinned:
            assert pinned.read() == b"weights"
        with pytest.raises(FileNotFoundError):
            staging.pin(folder, Blob(sha256_digest(b"gone"), 4))


def test_without_links_a_pinned_blob_is_copied_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "links are not supported here")

    monkeypatch.setattr(os, "link", no_links)
    blobs, staged = tmp_path / "blobs", tmp_path / "staging"
    blobs.mkdir()
    staged.mkdir()
    blob = Blob(sha256_digest(b"weights"), 7)
    (blobs / blob.hex).write_bytes(b"weights")
    with open_staging(staged) as (staging, _), open_folder(blobs) as folder:
        staging.pin(folder, blob)
        with staging.open_blob(blob.digest) as copy:
            assert copy.read() == b"weights"
        (blobs / blob.hex).write_bytes(b"rotten!")
        other = Blob(sha256_digest(b"other"), 5)
        (blobs / other.hex).write_bytes(b"rotten")
        with pytest.raises(DigestMismatchError):
            staging.pin(folder, other)


@pytest.mark.parametrize("digest", ["sha256:../../x", "sha256:" + "A" * 64, "md5:00", "", "x/y"])
def test_what_is_no_digest_never_becomes_a_path(digest: str) -> None:
    with pytest.raises(StoreError, match="not a digest"):
        blob_name(digest)


def test_a_folder_that_is_a_link_is_not_entered(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(OSError), open_folder(tmp_path / "link"):
        pass


def test_the_lock_keeps_others_out_until_its_holder_is_gone(tmp_path: Path) -> None:
    file = tmp_path / ".lock"
    code = f"""
        import sys
        from pathlib import Path
        from modelpack.store.durable import locked
        with locked(Path({str(file)!r})):
            print("in", flush=True)
    """
    with locked(file):
        other = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
        )
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(timeout=1)
    out, _ = other.communicate(timeout=20)
    assert out == "in\n"


@pytest.mark.parametrize(
    ("number", "message"), [(errno.ENOSPC, "no space left"), (errno.EACCES, "cannot write")]
)
def test_what_the_system_refuses_is_said_in_one_line(number: int, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught, readable_errors(Path("/s"), "write"):
        raise OSError(number, os.strerror(number), "/s/blobs")
    assert "\n" not in caught.value.message
