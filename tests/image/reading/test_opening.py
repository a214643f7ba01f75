"""Images in folders and files; those of engines and registries are in ``test_places``."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import DigestMismatchError, NotFoundError, RefusedError, UsageError
from modelpack.image.reading import Where, open_image
from modelpack.store import Store

DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"


@pytest.fixture
def image(made: Any) -> Any:
    """Two layers, the second one with gzip."""
    tars = [made.tar(made.file("etc/name", b"one")), made.tar(made.file("etc/name", b"two"))]
    return made.Made(tars, {"User": "65532:65532", "Env": ["A=b=c"]}, gzipped=[1])


@pytest.fixture
def other(made: Any) -> Any:
    return made.Made([made.tar(made.file("b", b"arm"))], architecture="arm64")


@pytest.fixture(params=["oci", "oci-archive", "docker-archive"])
def reference(request: pytest.FixtureRequest, made: Any, image: Any, tmp_path: Path) -> str:
    """The image in each of the forms that lie on a disk."""
    if request.param == "docker-archive":
        return f"docker-archive:{made.docker_archive(tmp_path / 'd.tar', digits=image)}"
    top = made.layout(tmp_path / "layout", digits=image)
    if request.param == "oci":
        return f"oci:{top}"
    return f"oci-archive:{made.packed(top, tmp_path / 'o.tar')}"


def test_every_form_gives_the_same_image(reference: str, image: Any) -> None:
    with open_image(reference) as found:
        assert found.config == json.loads(image.config)
        assert found.platform == "linux/amd64"
        assert [one.diff_id for one in found.layers] == [
            f"sha256:{hashlib.sha256(one).hexdigest()}" for one in image.tars
        ]
        assert [b"".join(one.chunks()) for one in found.layers] == image.layers
        assert [b"".join(one.unpacked()) for one in found.layers] == list(image.tars)
        # What is stored has the digest and the size that it is known by.
        for layer, data in zip(found.layers, image.layers, strict=True):
            assert layer.blob.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
            assert layer.blob.size == len(data)
        assert found.labels == {}
        assert found.settings["User"] == "65532:65532"
        assert (found.place, found.index) == (None, None)
        assert list(found.read_referrers()) == []


def test_layers_can_be_read_again_and_again(reference: str, image: Any) -> None:
    with open_image(reference) as found:
        layer = found.layers[1]
        assert b"".join(layer.unpacked()) == b"".join(layer.unpacked()) == image.tars[1]


def test_a_manifest_that_is_there_keeps_its_digest(made: Any, image: Any, tmp_path: Path) -> None:
    with open_image(f"oci:{made.layout(tmp_path, digits=image)}") as found:
        assert found.document.data == image.manifest


def test_a_manifest_beside_a_docker_archive_is_taken(made: Any, image: Any, tmp_path: Path) -> None:
    """Newer engines, and we, put an OCI layout into the same tar."""
    top = made.layout(tmp_path / "layout", digits=image)
    paths = [f"blobs/sha256/{made.digest(data)[7:]}" for data in (image.config, *image.layers)]
    entry = {"Config": paths[0], "RepoTags": ["digits:1"], "Layers": paths[1:]}
    (top / "manifest.json").write_text(json.dumps([entry]))
    both = made.packed(top, tmp_path / "both.tar")

    for form in ("docker-archive", "oci-archive"):
        with open_image(f"{form}:{both}") as found:
            assert found.document.data == image.manifest


def test_an_archive_may_link_to_a_layer_that_is_there_twice(
    made: Any, image: Any, tmp_path: Path
) -> None:
    """As engines before 25 write it."""
    tar = image.tars[0]
    twice = made.Made([tar, tar])
    entry = {"Config": "c.json", "RepoTags": None, "Layers": ["1/layer.tar", "2/layer.tar"]}
    archive = tmp_path / "linked.tar"
    archive.write_bytes(
        made.tar(
            made.file("c.json", twice.config),
            made.link("1/layer.tar", "../2/layer.tar"),
            made.file("2/layer.tar", tar),
            made.file("manifest.json", json.dumps([entry]).encode()),
        )
    )

    with open_image(f"docker-archive:{archive}") as found:
        assert [b"".join(one.unpacked()) for one in found.layers] == [tar, tar]


@pytest.mark.parametrize("target", ["1/layer.tar", "/etc/passwd", "../../etc/passwd", "nowhere"])
def test_links_lead_nowhere_outside_of_the_archive(made: Any, tmp_path: Path, target: str) -> None:
    lone = made.Made([made.tar()])
    entry = {"Config": "c.json", "RepoTags": None, "Layers": ["1/layer.tar"]}
    archive = tmp_path / "linked.tar"
    archive.write_bytes(
        made.tar(
            made.file("c.json", lone.config),
            made.link("1/layer.tar", target),
            made.file("manifest.json", json.dumps([entry]).encode()),
        )
    )

    with (
        pytest.raises(NotFoundError, match=r"no file '1/layer\.tar'"),
        open_image(f"docker-archive:{archive}"),
    ):
        pass


# Several in one place.


def test_a_tag_chooses_among_several(made: Any, image: Any, other: Any, tmp_path: Path) -> None:
    top = made.layout(tmp_path / "layout", one=image, two=other)
    archive = made.docker_archive(tmp_path / "d.tar", one=image, two=other)

    for place in (f"oci:{top}:two", f"oci:{top}:{made.digest(other.manifest)}"):
        with open_image(place) as found:
            assert found.platform == "linux/arm64"
    with open_image(f"docker-archive:{archive}:two:1") as found:
        assert found.platform == "linux/arm64"


def test_without_a_tag_several_are_listed(
    made: Any, image: Any, other: Any, tmp_path: Path
) -> None:
    top = made.layout(tmp_path / "layout", one=image, two=other)
    archive = made.docker_archive(tmp_path / "d.tar", one=image, two=other)

    for place, names in ((f"oci:{top}", "'one', 'two'"), (f"docker-archive:{archive}", "'one:1'")):
        with (
            pytest.raises(NotFoundError, match="holds 2 images: say which") as caught,
            open_image(place),
        ):
            pass
        assert names in (caught.value.hint or "")
        with pytest.raises(NotFoundError, match="has no 'three'"), open_image(f"{place}:three"):
            pass


@pytest.fixture
def several(made: Any, image: Any, other: Any, tmp_path: Path) -> str:
    """An index of two platforms, with an artifact and an attestation beside them."""
    index = json.loads(made.index_of(amd64=image, arm64=other))
    noise = json.dumps({"schemaVersion": 2, "config": {"mediaType": "x"}, "layers": []}).encode()
    index["manifests"] += [
        made.described(noise, made.MANIFEST, artifactType="application/vnd.in-toto+json"),
        made.described(noise, made.MANIFEST, platform={"os": "unknown", "architecture": "unknown"}),
    ]
    data = json.dumps(index).encode()
    top = made.write_layout(
        tmp_path / "several",
        [data, noise, *image.blobs, *other.blobs],
        [made.described(data, made.INDEX)],
    )
    return f"oci:{top}"


def test_a_platform_chooses_in_an_index(several: str, other: Any) -> None:
    for platform in ("linux/arm64", "linux/arm64/v8"):
        with open_image(several, platform=platform) as found:
            assert found.document.data == other.manifest
            assert found.platform == "linux/arm64"
            assert found.index is not None


def test_a_platform_that_is_not_there_is_named_with_those_that_are(several: str) -> None:
    with (
        pytest.raises(NotFoundError, match="no image for 'linux/s390x'") as caught,
        open_image(several, platform="linux/s390x"),
    ):
        pass

    assert "'linux/amd64', 'linux/arm64'" in (caught.value.hint or "")


def test_a_platform_is_checked_without_an_index(made: Any, other: Any, tmp_path: Path) -> None:
    place = f"oci:{made.layout(tmp_path, digits=other)}"

    with open_image(place) as found:
        assert found.platform == "linux/arm64"
    with (
        pytest.raises(NotFoundError, match="no image for 'linux/amd64'"),
        open_image(place, platform="linux/amd64"),
    ):
        pass
    with (
        pytest.raises(UsageError, match="'amd64' is not a platform"),
        open_image(place, platform="amd64"),
    ):
        pass


def test_the_forms_of_docker_are_read(made: Any, image: Any, other: Any, tmp_path: Path) -> None:
    """Manifest lists and schema 2, as registries have them that were pushed to by an engine."""

    def docker(one: Any) -> bytes:
        value = json.loads(one.manifest)
        value["mediaType"] = DOCKER_MANIFEST
        value["config"]["mediaType"] = DOCKER_CONFIG
        return json.dumps(value).encode()

    manifests = {"amd64": docker(image), "arm64": docker(other)}
    listed = [
        made.described(data, DOCKER_MANIFEST, platform={"os": "linux", "architecture": name})
        for name, data in manifests.items()
    ]
    index = json.dumps({"mediaType": DOCKER_LIST, "manifests": listed}).encode()
    blobs = [index, *manifests.values(), *image.blobs, *other.blobs]
    top = made.write_layout(tmp_path, blobs, [made.described(index, DOCKER_LIST)])

    with open_image(f"oci:{top}", platform="linux/arm64") as found:
        assert found.config == json.loads(other.config)


# What is no image, or not the one that it says it is.


def test_a_rotten_blob_is_refused_where_it_is_read(made: Any, image: Any, tmp_path: Path) -> None:
    place = f"oci:{made.layout(tmp_path, digits=image)}"
    layer = tmp_path / "blobs/sha256" / made.digest(image.tars[0])[7:]
    layer.write_bytes(layer.read_bytes().replace(b"one", b"two"))

    with open_image(place) as found, pytest.raises(DigestMismatchError):
        list(found.layers[0].unpacked())

    config = tmp_path / "blobs/sha256" / made.digest(image.config)[7:]
    config.write_bytes(config.read_bytes().replace(b"amd64", b"arm64"))
    with pytest.raises(DigestMismatchError), open_image(place):
        pass


def test_a_layer_that_the_config_does_not_know_is_refused(made: Any, tmp_path: Path) -> None:
    """The config is what engines compare a layer with; swapped bytes do not get past it."""
    honest, evil = made.tar(made.file("a", b"good")), made.tar(made.file("a", b"evil"))
    swapped = made.Made([evil], diff_ids=[made.digest(honest)])

    with (
        open_image(f"oci:{made.layout(tmp_path, x=swapped)}") as found,
        pytest.raises(DigestMismatchError, match="other bytes than its config says"),
    ):
        list(found.layers[0].unpacked())


@pytest.mark.parametrize("diff_ids", [["sha256:00"], ["x"], [1], ["sha256:" + "0" * 64] * 3])
def test_a_config_that_does_not_fit_is_refused(made: Any, tmp_path: Path, diff_ids: Any) -> None:
    wrong = made.Made([made.tar()], diff_ids=diff_ids)

    with (
        pytest.raises(RefusedError, match="one 'diff_id' a layer"),
        open_image(f"oci:{made.layout(tmp_path, x=wrong)}"),
    ):
        pass


def test_a_bundle_is_no_image(made: Any, tmp_path: Path, store: Store, make_bundle: Any) -> None:
    entry = make_bundle("cpu")

    with (
        pytest.raises(RefusedError, match="is a bundle or a model, not an image") as caught,
        open_image(f"oci:{store.root}:{entry.tag}"),
    ):
        pass

    assert "containerize" in (caught.value.hint or "")
    with pytest.raises(NotFoundError, match="holds no images"), open_image(f"oci:{store.root}"):
        pass


@pytest.mark.parametrize(
    "data",
    [b"{}", b"[]", b"not json", b'{"mediaType":"x","manifests":[{"digest":"../../etc/passwd"}]}'],
)
def test_an_index_that_is_none_is_refused(made: Any, tmp_path: Path, data: bytes) -> None:
    top = made.write_layout(tmp_path, [data], [made.described(data, made.INDEX)])

    with pytest.raises(RefusedError), open_image(f"oci:{top}"):
        pass


def test_indexes_in_each_other_have_an_end(made: Any, image: Any, tmp_path: Path) -> None:
    blobs = list(image.blobs)
    inner = made.described(image.manifest, made.MANIFEST)
    for _ in range(5):
        data = json.dumps({"mediaType": made.INDEX, "manifests": [inner]}).encode()
        blobs.append(data)
        inner = made.described(data, made.INDEX)
    top = made.write_layout(tmp_path, blobs, [inner])

    with pytest.raises(RefusedError, match="too many indexes"), open_image(f"oci:{top}"):
        pass


def test_a_packed_archive_says_how_to_unpack_it(tmp_path: Path) -> None:
    packed = tmp_path / "d.tar.gz"
    packed.write_bytes(b"\x1f\x8b rest")

    with (
        pytest.raises(RefusedError, match="is compressed") as caught,
        open_image(f"docker-archive:{packed}"),
    ):
        pass

    assert "gunzip" in (caught.value.hint or "")


def test_the_kind_of_archive_is_told_when_it_is_the_other_one(
    made: Any, image: Any, tmp_path: Path
) -> None:
    packed = made.packed(made.layout(tmp_path / "l", x=image), tmp_path / "o.tar")

    with pytest.raises(RefusedError) as caught, open_image(f"docker-archive:{packed}"):
        pass

    assert f"oci-archive:{packed}" in (caught.value.hint or "")


@pytest.mark.timeout(20)
def test_nobody_waits_at_a_pipe(made: Any, image: Any, tmp_path: Path) -> None:
    """Neither for a blob of a folder of somebody else's, nor for an archive on its way."""
    top = made.layout(tmp_path / "layout", x=image)
    layer = top / "blobs/sha256" / made.digest(image.tars[0])[7:]
    layer.unlink()
    os.mkfifo(layer)
    os.mkfifo(tmp_path / "pipe")

    with open_image(f"oci:{top}") as found, pytest.raises(DigestMismatchError):
        list(found.layers[0].unpacked())
    for form in ("docker-archive", "oci-archive"):
        with (
            pytest.raises(RefusedError, match="is not a file") as caught,
            open_image(f"{form}:{tmp_path / 'pipe'}"),
        ):
            pass
        assert caught.value.hint == "save the image into a file first"


def test_where_it_was_found_is_said(reference: str) -> None:
    with open_image(reference) as found:
        assert found.where == Where(reference.partition(":")[0])
        assert found.name == reference
