"""Where a replica is, and what its models are told of it."""

from __future__ import annotations

import sys
import threading
from contextvars import copy_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import modelpack
from modelpack.sdk import placement as module
from modelpack.sdk.model import Model, using_source
from modelpack.sdk.placement import Placement, count_gpus, device, placed, placement
from modelpack.tag import Tag


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Say how many GPUs there are."""

    def have(count: int) -> None:
        monkeypatch.setattr(module, "gpu_count", lambda: count)
        monkeypatch.delitem(sys.modules, "torch", raising=False)

    return have


@pytest.mark.parametrize(
    ("asked", "number", "there", "expected"),
    [
        ("auto", 0, 0, "cpu"),
        ("auto", 0, 2, "cuda:0"),
        ("auto", 1, 2, "cuda:1"),
        ("auto", 2, 2, "cuda:0"),
        ("cpu", 1, 2, "cpu"),
        ("cuda:3", 0, 0, "cuda:3"),
    ],
)
def test_replicas_take_turns_on_the_gpus_that_are_there(
    gpus: Any, asked: str, number: int, there: int, expected: str
) -> None:
    gpus(there)
    with placed(Placement(number=number, device=asked)):
        assert modelpack.device() == expected


@pytest.mark.parametrize(("can", "expected"), [(True, "cuda:0"), (False, "cpu")])
def test_a_torch_without_cuda_gets_the_cpu_unless_a_gpu_was_asked_for(
    gpus: Any, monkeypatch: pytest.MonkeyPatch, can: bool, expected: str
) -> None:
    gpus(1)
    torch = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: can))
    monkeypatch.setitem(sys.modules, "torch", torch)

    assert device() == expected
    with placed(Placement(device="cuda:0")):
        assert device() == "cuda:0"


@pytest.mark.parametrize("library", ["libno-such-driver.so.1", "libm.so.6"])
def test_without_a_driver_there_are_no_gpus(library: str) -> None:
    assert count_gpus(library) == 0


def test_a_thread_with_a_copy_of_the_context_is_in_the_same_place() -> None:
    seen: list[Placement] = []
    with placed(Placement(number=1)) as _:
        here, context = placement(), copy_context()
    thread = threading.Thread(target=context.run, args=(lambda: seen.append(placement()),))
    thread.start()
    thread.join()

    assert seen == [here]
    assert placement() is not here


class Folder:
    """A source that counts what it loads."""

    def __init__(self, root: Path) -> None:
        self.root, self.count = root, 0

    def folder(self, tag: Tag) -> Path:
        return self.root

    def load(self, folder: Path) -> Any:
        self.count += 1
        return object()


def test_each_replica_has_models_of_its_own_and_the_first_those_of_the_process(
    tmp_path: Path,
) -> None:
    source = Folder(tmp_path)
    with using_source(source):
        model = Model("clf")

    class Service:
        clf = model

        def again(self) -> Any:
            return type(self).clf.load()

    first, same = Service(), Service()
    with placed(Placement(number=1)):
        second = Service()
        assert second.clf is second.again()
    assert first.clf is same.clf is model.load()
    assert second.clf is not first.clf
    assert source.count == 2


def test_a_model_that_was_used_is_found_on_the_instance(tmp_path: Path) -> None:
    with using_source(Folder(tmp_path)):

        class Service:
            clf = Model("clf")

    service = Service()
    loaded = service.clf

    assert vars(service) == {"clf": loaded}
