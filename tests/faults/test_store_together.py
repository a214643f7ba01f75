"""F35, F37: several processes at one store."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import ConflictError, NotFoundError
from modelpack.store import Kind, Store
from modelpack.tag import Tag

AT_ONCE = 8


@pytest.fixture
def in_children() -> Iterator[Callable[[list[Callable[[], str]]], list[str]]]:
    """Run functions in processes of their own, which all begin at the same moment."""
    children: list[int] = []

    def run(tasks: list[Callable[[], str]]) -> list[str]:
        gate_out, gate_in = os.pipe()
        pipes = []
        for task in tasks:
            out, into = os.pipe()
            child = os.fork()
            if child == 0:
                try:
                    os.close(gate_in)
                    os.read(gate_out, 1)  # ends when the parent closes the gate
                    os.write(into, task().encode())
                    os._exit(0)
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(1)
            os.close(into)
            children.append(child)
            pipes.append(out)
        os.close(gate_out)
        os.close(gate_in)
        answers = []
        for out in pipes:
            with os.fdopen(out, "rb") as pipe:
                answers.append(pipe.read().decode())
        while children:
            assert os.waitpid(children.pop(), 0)[1] == 0
        return answers

    yield run
    for child in children:
        os.waitpid(child, 0)


def task(shelf: Any, content: bytes, weights: bytes) -> Callable[[], str]:
    """Build the model ``clf:1`` and the bundle ``digits:1`` on it."""

    def build() -> str:
        try:
            model = shelf.model(weights=weights)
            entry = shelf.bundle(files={"data.bin": content}, models=[model])
        except ConflictError as error:
            return f"exit {error.exit_code}, {'already exists' in error.message}"
        return str(entry.digest)

    return build


def test_f35_the_same_tag_with_the_same_content_succeeds_for_all(
    shelf: Any, in_children: Callable[..., list[str]]
) -> None:
    answers = in_children([task(shelf, b"same" * 9000, b"same" * 50_000)] * AT_ONCE)
    (digest,) = set(answers)
    entry = shelf.store.find(Tag("digits", "1"), Kind.BUNDLE)
    assert entry.digest == digest
    assert len(shelf.store.list()) == 2
    shelf.store.verify(entry)
    assert shelf.store.plan_gc().items == ()
    assert list((shelf.store.root / ".staging").iterdir()) == []


def test_f35_the_same_tag_with_other_content_succeeds_for_exactly_one(
    shelf: Any, in_children: Callable[..., list[str]]
) -> None:
    weights = b"same" * 50_000
    tasks = [task(shelf, bytes([number]) * 30_000, weights) for number in range(AT_ONCE)]
    answers = in_children(tasks)
    won = [answer for answer in answers if answer.startswith("sha256:")]
    assert len(won) == 1
    assert answers.count("exit 5, True") == AT_ONCE - 1
    entry = shelf.store.find(Tag("digits", "1"), Kind.BUNDLE)
    assert entry.digest == won[0]
    shelf.store.verify(entry)
    assert shelf.store.plan_gc().items == ()


def read_whole(root: Path, end: Path) -> str:
    """Find and read an entry until the end is there and once more; say how often that went well."""
    store = Store(root)
    found = gone = 0
    is_last = False
    while not is_last:
        is_last = end.exists()
        try:
            entry = store.find(Tag("digits", "1"), Kind.BUNDLE)
            for layer in entry.layers:
                with store.open_blob(layer.digest) as blob:
                    assert len(blob.read()) == layer.size  # its digest was checked at its end
            found += 1
        except NotFoundError:
            gone += 1
    return f"{found} {gone}"


def test_f37_who_reads_while_it_is_deleted_has_whole_bytes_or_is_told(
    shelf: Any, memory: Path, in_children: Callable[..., list[str]]
) -> None:
    content = os.urandom(2_000_000)
    shelf.bundle(files={"data.bin": content})

    def delete_and_build() -> str:
        for _ in range(15):
            shelf.store.delete(shelf.store.find(Tag("digits", "1"), Kind.BUNDLE))
            shelf.store.gc()
            shelf.bundle(files={"data.bin": content})
        (memory / "end").touch()
        return "done"

    read = [lambda: read_whole(shelf.store.root, memory / "end")] * 3
    answers = in_children([delete_and_build, *read])
    assert answers[0] == "done"
    counts = [tuple(map(int, answer.split())) for answer in answers[1:]]
    assert all(found > 0 for found, _ in counts)
    shelf.store.verify(shelf.store.find(Tag("digits", "1"), Kind.BUNDLE))


def test_f37_a_reader_in_the_middle_goes_on_to_the_end(shelf: Any) -> None:
    content = os.urandom(3_000_000)
    entry = shelf.bundle(files={"data.bin": content})
    with shelf.store.open_blob(entry.layers[-1].digest) as blob:
        head = blob.read(100)
        shelf.store.delete(entry)
        shelf.store.gc()
        assert content in head + blob.read()
    with pytest.raises(NotFoundError):
        shelf.store.open_blob(entry.layers[-1].digest)


def test_f37_an_export_while_it_is_deleted_is_whole_or_not_there(shelf: Any, memory: Path) -> None:
    """In one process and two threads: the export is an archive, or an error and no file."""
    other = Store(memory / "other")
    content = os.urandom(500_000)
    outcomes = set()
    for number in range(12):
        entry = shelf.bundle(version=f"v{number}", files={"data.bin": content})
        file = memory / f"{number}.modelpack"

        def delete(entry: Any = entry) -> None:
            shelf.store.delete(entry)
            shelf.store.gc()

        thread = threading.Thread(target=delete)
        thread.start()
        try:
            shelf.store.export(entry, file)
            assert other.import_(file).digest == entry.digest
            outcomes.add("whole")
        except NotFoundError:
            assert not file.exists()
            outcomes.add("not found")
        thread.join()
    assert outcomes <= {"whole", "not found"}
    assert not [path for path in memory.iterdir() if path.name.startswith(".")]
