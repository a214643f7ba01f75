"""What the tests of builders share: plans, a progress that remembers, a cache of their own."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from modelpack.config.settings import ImageSettings
from modelpack.image import ImagePlan, connect, plan_image
from modelpack.store import Entry, Store


class Recorder:
    """Writes down what is said, and whether steps ended."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.begun: list[str] = []
        self.ended: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        self.begun.append(text)
        try:
            yield
        finally:
            self.ended.append(text)


@pytest.fixture
def progress() -> Recorder:
    return Recorder()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the test a cache of its own; what failed builds left in the engine is removed."""
    monkeypatch.setenv("MODELPACK_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    for log in (tmp_path / "cache" / "logs").glob("*.log"):
        for image in reversed(re.findall(r"^ ---> ([0-9a-f]{12})$", log.read_text(), re.M)[1:]):
            _remove_image(image)


def _remove_image(image: str) -> None:
    from docker.errors import APIError

    # Gone with another one already, or another build is at it: either way not ours any more.
    with connect() as client, suppress(APIError):
        client.remove_image(image)


@pytest.fixture
def plan(store: Store, make_bundle: Callable[..., Entry]) -> ImagePlan:
    """Give the plan of a bundle whose lock holds hashes that no file has."""
    base = os.environ.get("ENGINE_BASE_IMAGE", "modelpack-base/python:3.11-slim")
    return plan_image(store, make_bundle("cpu"), ImageSettings(), base=base)
