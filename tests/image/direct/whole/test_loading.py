"""What an engine is sent: nothing that it has, and everything when it wants that."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from docker.errors import APIError, ImageNotFound

from modelpack import image as images
from modelpack.errors import EngineError
from modelpack.image import ImagePlan
from modelpack.image.direct import DirectResult

Build = Callable[..., DirectResult]
NAME = "tiny:1"


class Engine:
    """Has images, and takes a tar if it can make one of it; ``wants_all`` as newer engines do."""

    def __init__(self, *, wants_all: bool = False, refuses: str | None = None) -> None:
        self.there: dict[str, list[str]] = {}
        self.loads: list[set[str]] = []
        """Names in the tars that it was given."""
        self.wants_all = wants_all
        self.refuses = refuses

    def images(self, filters: dict[str, str]) -> list[dict[str, Any]]:
        assert filters == {"label": "dev.modelpack.bundle.digest"}
        return [{"Id": name} for name in self.there]

    def inspect_image(self, name: str) -> dict[str, Any]:
        if name not in self.there:
            raise ImageNotFound(name)
        return {"RootFS": {"Layers": self.there[name]}}

    def load_image(self, chunks: Iterator[bytes]) -> Iterator[dict[str, str]]:
        if self.refuses is not None:
            raise APIError(self.refuses)
        found = {}
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isreg() else None
                found[member.name] = file.read() if file else b""
        self.loads.append({*found})
        (listed,) = json.loads(found["manifest.json"])
        diff_ids = json.loads(found[listed["Config"]])["rootfs"]["diff_ids"]
        chains = {
            tuple(one[:count]) for one in self.there.values() for count in range(len(one) + 1)
        }
        for number, path in enumerate(listed["Layers"], start=1):
            is_there = tuple(diff_ids[:number]) in chains and not self.wants_all
            if not is_there and path not in found:
                yield {"error": f"open {path}: no such file or directory"}
                return
        self.there[listed["RepoTags"][0]] = diff_ids
        yield {"stream": "Loaded"}


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Engine], Engine]:
    def put(engine: Engine) -> Engine:
        @contextmanager
        def connect() -> Iterator[Engine]:
            yield engine

        monkeypatch.setattr(images, "connect", connect)
        return engine

    return put


def layers_in(names: set[str], made: DirectResult) -> int:
    blobs = {f"blobs/sha256/{one.blob.hex}" for one in made.images[0].layers}
    return len(names & blobs)


def test_an_engine_without_any_of_it_gets_all_layers(
    build: Build, tiny: ImagePlan, use: Callable[[Engine], Engine]
) -> None:
    engine = use(Engine())

    made = build(tiny, outputs=["engine"], reference=NAME)

    (names,) = engine.loads
    assert layers_in(names, made) == len(made.images[0].layers)
    assert made.written[0].new_bytes > sum(one.blob.size for one in made.images[0].layers)


def test_after_a_code_change_it_gets_the_code_alone(
    build: Build, wheels_plan: Any, bases: Any, use: Callable[[Engine], Engine]
) -> None:
    engine, base = use(Engine()), bases.usual()
    build(wheels_plan(code=b"1\n"), base=base, outputs=["engine"], reference=NAME)

    made = build(wheels_plan(code=b"2\n"), base=base, outputs=["engine"], reference="tiny:2")

    assert layers_in(engine.loads[1], made) == 1
    assert {*engine.there} == {NAME, "tiny:2"}
    assert made.written[0].new_bytes < 50_000


def test_layers_in_the_middle_of_another_image_do_not_count(
    build: Build, tiny: ImagePlan, use: Callable[[Engine], Engine]
) -> None:
    """An engine knows a layer by all that lies below it."""
    engine = use(Engine())
    first = build(tiny, outputs=["engine"], reference=NAME)
    engine.there = {"other": ["sha256:" + "0" * 64, *engine.there[NAME]]}

    again = build(tiny, outputs=["engine"], reference=NAME)

    assert layers_in(engine.loads[1], again) == len(first.images[0].layers)


def test_an_engine_that_wants_all_of_it_gets_all_of_it_in_a_second_try(
    build: Build, tiny: ImagePlan, use: Callable[[Engine], Engine]
) -> None:
    engine = use(Engine(wants_all=True))
    build(tiny, outputs=["engine"], reference=NAME)

    made = build(tiny, outputs=["engine"], reference="tiny:2")

    assert [layers_in(names, made) for names in engine.loads[1:]] == [
        0,
        len(made.images[0].layers),
    ]
    assert "tiny:2" in engine.there


def test_what_an_engine_says_against_it_is_shown(
    build: Build, tiny: ImagePlan, use: Callable[[Engine], Engine]
) -> None:
    use(Engine(refuses="no space\nleft"))

    with pytest.raises(EngineError, match=r"did not load 'tiny:1': .*no space left") as caught:
        build(tiny, outputs=["engine"], reference=NAME)

    assert len(caught.value.message.splitlines()) == 1
    assert "docker-archive:FILE" in (caught.value.hint or "")
