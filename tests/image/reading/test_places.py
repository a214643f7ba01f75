"""Images of a real engine and a real registry, and those that other tools write."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from modelpack import paths
from modelpack.errors import NotFoundError, RefusedError, ToolMissingError, UnreachableError
from modelpack.image import connect
from modelpack.image.reading import ReadImage, Where, exports, open_image
from modelpack.registry import Counts

Tars = list[bytes]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELPACK_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def image(made: Any) -> Any:
    """Two small layers that no other test has."""
    unique = uuid.uuid4().hex.encode()
    tars = [made.tar(made.file("one", unique * 1000)), made.tar(made.file("two", unique))]
    return made.Made(tars, {"Entrypoint": ["/one"], "Env": ["A=b"]}, gzipped=[0])


@pytest.fixture
def loaded(made: Any, image: Any, tmp_path: Path) -> Iterator[str]:
    """Its name in the engine; gone afterwards, with every other name that it got."""
    name = f"modelpack-test/read-{uuid.uuid4().hex[:12]}"
    archive = made.docker_archive(tmp_path / "d.tar", **{name: image})
    with connect() as engine:
        with archive.open("rb") as data:
            list(engine.load_image(data))  # it is done when it has said all
        yield f"{name}:1"
        # The tag of a test is the last one; it takes the image along.
        with suppress(Exception):
            engine.remove_image(engine.inspect_image(f"{name}:1")["Id"], force=True)


@pytest.fixture
def repository() -> str:
    return f"{os.environ['ENGINE_REGISTRY']}/modelpack-test/read-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def skopeo() -> Callable[..., None]:
    if shutil.which("skopeo") is None:
        pytest.skip("'skopeo' is not installed")

    def run(*words: object) -> None:
        command = ["skopeo", "--insecure-policy", "copy", "--quiet", *map(str, words)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    return run


def tars_of(image: ReadImage) -> Tars:
    return [b"".join(layer.unpacked()) for layer in image.layers]


# The engine.


@pytest.mark.engine
def test_an_image_of_the_engine_is_read(loaded: str, image: Any) -> None:
    for reference in (loaded, f"engine:{loaded}"):
        with open_image(reference) as found:
            assert found.where is Where.ENGINE
            assert tars_of(found) == image.tars
            assert found.settings["Entrypoint"] == ["/one"]
            assert found.platform == "linux/amd64"


@pytest.mark.engine
def test_an_export_is_made_once_and_again_when_it_is_damaged(
    loaded: str, image: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    export = exports._export
    monkeypatch.setattr(
        exports, "_export", lambda *words: (made.append(words[2]), export(*words))[1]
    )

    for _ in range(3):
        with open_image(f"engine:{loaded}") as found:
            layer = found.layers[1]
            assert tars_of(found) == image.tars
    assert len(made) == 1

    kept = paths.cache_dir() / "image/exports/blobs/sha256" / layer.blob.hex
    kept.chmod(0o600)
    kept.write_bytes(b"cut short")
    with open_image(f"engine:{loaded}") as found:
        assert tars_of(found) == image.tars
    assert len(made) == 2


@pytest.mark.engine
def test_several_may_export_the_same_image_at_once(loaded: str, image: Any) -> None:
    def read(_: int) -> Tars:
        with open_image(f"engine:{loaded}") as found:
            return tars_of(found)

    with ThreadPoolExecutor(4) as crew:
        assert list(crew.map(read, range(8))) == [image.tars] * 8

    listed = json.loads((paths.cache_dir() / "image/exports/index.json").read_bytes())["manifests"]
    assert len(listed) == 1


@pytest.mark.engine
def test_no_more_exports_are_kept_than_allowed(
    made: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The oldest goes with what only it had; what the others share stays."""
    monkeypatch.setattr(exports, "MAX_IMAGES", 2)
    shared = made.tar(made.file("shared", uuid.uuid4().bytes))
    names = [f"modelpack-test/kept-{uuid.uuid4().hex[:12]}" for _ in range(3)]
    images = [made.Made([shared, made.tar(made.file("own", name.encode()))]) for name in names]
    archive = made.docker_archive(tmp_path / "d.tar", **dict(zip(names, images, strict=True)))

    with connect() as engine:
        with archive.open("rb") as data:
            list(engine.load_image(data))  # it is done when it has said all
        try:
            for name, image in zip(names, images, strict=True):
                with open_image(f"engine:{name}:1") as found:
                    assert tars_of(found) == image.tars
        finally:
            for name in names:
                engine.remove_image(f"{name}:1", force=True)

    kept = {one.name for one in (paths.cache_dir() / "image/exports/blobs/sha256").iterdir()}
    own = [made.digest(image.tars[1])[7:] in kept for image in images]
    assert own == [False, True, True]
    assert made.digest(shared)[7:] in kept


@pytest.mark.engine
def test_an_image_that_the_engine_has_not_is_named() -> None:
    with (
        pytest.raises(NotFoundError, match="no image 'modelpack-test/none:1' in the engine"),
        open_image("engine:modelpack-test/none:1"),
    ):
        pass
    with (
        pytest.raises(NotFoundError, match="the engine has none of that name") as caught,
        open_image("modelpack-test/none:1"),
    ):
        pass
    assert "registry:HOST/NAME:TAG" in (caught.value.hint or "")


def test_without_an_engine_the_other_places_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")

    with (
        pytest.raises(NotFoundError, match="no container engine answers") as caught,
        open_image("digits:1"),
    ):
        pass
    assert "oci:DIR" in (caught.value.hint or "")
    with pytest.raises(ToolMissingError) as missing, open_image("engine:digits:1"):
        pass
    assert "registry:HOST/NAME:TAG" in (missing.value.hint or "")
    with pytest.raises(UnreachableError), open_image("127.0.0.1:1/digits:1"):
        pass


# A registry.


@pytest.mark.engine
def test_what_an_engine_pushed_is_read_from_the_registry(
    loaded: str, image: Any, repository: str
) -> None:
    """Schema 2, compressed by the engine: other blobs, the same tars."""
    with connect() as engine:
        engine.tag(loaded, repository, "1")
        said = list(engine.push(repository, "1", stream=True, decode=True))
        engine.remove_image(f"{repository}:1")
    assert not [event for event in said if "error" in event]
    counts = Counts()

    # Its name begins with a host, and the engine has it no more: it is looked for there.
    with open_image(f"{repository}:1", counts=counts) as found:
        before = counts.received_bytes
        assert found.where is Where.REGISTRY
        assert found.place is not None
        assert f"{found.place.host}/{found.place.repository}" == repository
        assert found.document.media_type.startswith("application/vnd.docker.")
        assert tars_of(found) == image.tars
        stored = sum(layer.blob.size for layer in found.layers)
        assert counts.received_bytes - before == stored


@pytest.mark.engine
def test_an_index_of_a_registry_gives_the_platform_that_is_asked_for(
    made: Any, image: Any, repository: str, tmp_path: Path, skopeo: Callable[..., None]
) -> None:
    arm = made.Made(image.tars[1:], architecture="arm64")
    index = made.index_of(amd64=image, arm64=arm)
    named = {"org.opencontainers.image.ref.name": "1"}
    top = made.write_layout(
        tmp_path / "layout",
        [index, *image.blobs, *arm.blobs],
        [made.described(index, made.INDEX, annotations=named)],
    )
    skopeo(
        "--all",
        "--preserve-digests",
        "--dest-tls-verify=false",
        f"oci:{top}:1",
        f"docker://{repository}:1",
    )

    for platform, one in (("linux/arm64", arm), ("linux/amd64", image)):
        with open_image(f"registry:{repository}:1", platform=platform) as found:
            assert found.document.data == one.manifest
            assert found.index is not None
            assert found.index.data == index
            assert tars_of(found) == list(one.tars)


@pytest.mark.engine
def test_a_name_below_the_usual_registry_is_found(
    made: Any,
    image: Any,
    repository: str,
    *,
    tmp_path: Path,
    skopeo: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    top = made.layout(tmp_path / "layout", x=image)
    skopeo(
        "--preserve-digests", "--dest-tls-verify=false", f"oci:{top}", f"docker://{repository}:2"
    )
    place, _, name = repository.rpartition("/")
    monkeypatch.setenv("MODELPACK_REGISTRY", place)

    with open_image(f"{name}:2") as found:
        assert found.where is Where.REGISTRY
        assert found.document.data == image.manifest


# Other tools.


@pytest.mark.parametrize("form", ["oci", "oci-archive", "docker-archive"])
def test_what_skopeo_writes_is_read(
    made: Any, image: Any, tmp_path: Path, skopeo: Callable[..., None], form: str
) -> None:
    top = made.layout(tmp_path / "layout", x=image)
    target = f"{form}:{tmp_path / 'copied'}"
    skopeo(f"oci:{top}", f"{target}:copied:1")

    with open_image(target) as found:
        assert tars_of(found) == image.tars
        assert found.config["rootfs"] == json.loads(image.config)["rootfs"]
    with open_image(f"{target}:copied:1") as found:
        assert tars_of(found) == image.tars


@pytest.mark.engine
@pytest.mark.parametrize("form", ["oci", "docker-archive"])
def test_what_skopeo_takes_out_of_an_engine_is_read(
    loaded: str, image: Any, tmp_path: Path, skopeo: Callable[..., None], form: str
) -> None:
    skopeo(f"docker-daemon:{loaded}", f"{form}:{tmp_path / 'copied'}:1")

    with open_image(f"{form}:{tmp_path / 'copied'}") as found:
        assert tars_of(found) == image.tars


def test_layers_with_zstd_are_refused_with_what_to_do(
    made: Any, image: Any, tmp_path: Path, skopeo: Callable[..., None]
) -> None:
    top = made.layout(tmp_path / "layout", x=image)
    skopeo("--dest-compress-format", "zstd", f"oci:{top}", f"oci:{tmp_path / 'packed'}:1")

    with (
        open_image(f"oci:{tmp_path / 'packed'}") as found,
        pytest.raises(RefusedError, match="zstd"),
    ):
        list(found.layers[1].unpacked())
