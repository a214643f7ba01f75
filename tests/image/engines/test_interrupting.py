"""Ctrl-C while an image is built: the builder stops, and nothing of it stays."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelpack.image import ImagePlan, build_image, connect
from modelpack.progress import Silent
from modelpack.store import Store

if TYPE_CHECKING:
    from docker import APIClient

TEST_LABEL = {"dev.modelpack.test": "1"}


class Impatient(Silent):
    """Interrupts the build as packages are about to be installed."""

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        yield
        if text == "what to install":
            raise KeyboardInterrupt


@pytest.mark.engine
@pytest.mark.network
@pytest.mark.parametrize("builder", ["docker", "buildkit"])
def test_an_interrupted_build_leaves_nothing_behind(
    plan: ImagePlan, store: Store, cache: Path, builder: str
) -> None:
    reference = f"modelpack-test/interrupted:{uuid.uuid4().hex}"
    with connect() as engine:
        before = containers(engine)

        with pytest.raises(KeyboardInterrupt):
            build_image(
                plan,
                store,
                reference=reference,
                engine=builder,
                use_cache=False,
                progress=Impatient(),
                labels=TEST_LABEL,
            )

        end = time.monotonic() + 30
        while left := [one for one in containers(engine) - before if is_of_a_build(engine, one)]:
            assert time.monotonic() < end, f"it still runs: {left}"
            time.sleep(0.1)
        assert not engine.images(reference)
    assert [one for one in cache.rglob("*") if one.is_file()] == []


def containers(engine: APIClient) -> set[str]:
    return {one["Id"] for one in engine.containers(all=True)}


def is_of_a_build(engine: APIClient, container: str) -> bool:
    """Say whether a container is that of a step: others of this machine come and go."""
    from docker.errors import NotFound

    try:
        command = engine.inspect_container(container)["Config"]["Cmd"] or []
    except NotFound:
        return False
    return any("--require-hashes" in word for word in command)
