"""The same image under Docker's manifest, as registries take it that know no other."""

from __future__ import annotations

import hashlib
import json
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from modelpack.errors import RefusedError
from modelpack.image import ImagePlan
from modelpack.image.direct import DirectResult
from modelpack.image.direct.schema2 import in_schema2
from modelpack.progress import SILENT
from tests.registry.conftest import run_registry

Build = Callable[..., DirectResult]
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from run_registry(tmp_path_factory.mktemp("registry"))


def get(url: str, accept: str = "*/*") -> tuple[str, bytes]:
    request = urllib.request.Request(f"http://{url}", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.headers["content-type"], answer.read()


def test_a_registry_gets_dockers_manifest_with_gzip_layers_and_nothing_else(
    build: Build, tiny: ImagePlan, registry: str
) -> None:
    """Every layer is what the config says, and no manifest of OCI's comes along."""
    made = build(tiny, outputs=[f"{registry}/app/web:latest"], compress=True, schema2=True)

    kind, data = get(f"{registry}/v2/app/web/manifests/latest", MANIFEST)
    manifest: dict[str, Any] = json.loads(data)
    assert kind == manifest["mediaType"] == MANIFEST
    assert set(manifest) == {"schemaVersion", "mediaType", "config", "layers"}
    assert manifest["config"]["mediaType"] == "application/vnd.docker.container.image.v1+json"
    config = json.loads(get(f"{registry}/v2/app/web/blobs/{manifest['config']['digest']}")[1])
    for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        assert layer["mediaType"] == "application/vnd.docker.image.rootfs.diff.tar.gzip"
        blob = get(f"{registry}/v2/app/web/blobs/{layer['digest']}")[1]
        assert len(blob) == layer["size"]
        tar = zlib.decompress(blob, wbits=31)
        assert f"sha256:{hashlib.sha256(tar).hexdigest()}" == diff_id
    assert made.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert json.loads(get(f"{registry}/v2/app/web/tags/list")[1])["tags"] == ["latest"]


def test_its_id_is_that_of_the_image_under_the_manifest_of_oci(
    build: Build, tiny: ImagePlan
) -> None:
    image = build(tiny).images[0]

    docker = in_schema2(image, SILENT)

    assert docker.config_blob == image.config_blob
    assert docker.digest != image.digest
    assert in_schema2(image, SILENT).digest == docker.digest


def test_a_layer_that_dockers_manifest_cannot_name_is_refused(
    build: Build, tiny: ImagePlan
) -> None:
    image = build(tiny).images[0]
    zstd = replace(image.layers[0], media_type="application/vnd.oci.image.layer.v1.tar+zstd")

    with pytest.raises(RefusedError, match="cannot name"):
        in_schema2(replace(image, layers=(zstd, *image.layers[1:])), SILENT)
