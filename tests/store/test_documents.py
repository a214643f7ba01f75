from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from modelpack.errors import StoreError
from modelpack.store import Store, documents
from modelpack.store.base import FILE_PATH, TITLE, Kind, Layer
from modelpack.store.durable import Blob
from modelpack.tag import Tag

SCHEMA = Path(__file__).parent.parent / "data" / "cncf-modelpack-config-schema.json"
DIGEST = "sha256:" + "a" * 64
LAYER = Layer("application/vnd.cncf.model.code.v1.tar", DIGEST, 10_240, "bundle/code")


def manifest(**changes: Any) -> bytes:
    value = json.loads(
        documents.manifest_bytes(Blob(DIGEST, 7), [LAYER], {"dev.modelpack.kind": "bundle"})
    )
    return json.dumps({**value, **changes}).encode()


def test_configs_of_models_and_bundles_are_valid_by_the_specification(
    workshop: Any, store: Store, blob_path: Callable[[Store, str], Path]
) -> None:
    schema = json.loads(SCHEMA.read_text())
    model = workshop.model()
    for entry in (model, workshop.bundle(models=(model,)), workshop.bundle("plain")):
        written = json.loads(blob_path(store, entry.digest).read_bytes())
        config = json.loads(blob_path(store, written["config"]["digest"]).read_bytes())
        jsonschema.validate(config, schema)
        assert config["descriptor"] == {"name": entry.tag.name, "version": entry.tag.version}
        assert config["modelfs"]["diffIds"] == [layer["digest"] for layer in written["layers"]]


def test_a_manifest_has_the_types_that_other_tools_look_for(
    workshop: Any, store: Store, blob_path: Callable[[Store, str], Path]
) -> None:
    entry = workshop.bundle(models=(workshop.model(),))
    written = json.loads(blob_path(store, entry.digest).read_bytes())
    assert written["schemaVersion"] == 2
    assert written["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert written["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert written["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    kinds = [
        layer["mediaType"].removeprefix("application/vnd.cncf.model.")
        for layer in written["layers"]
    ]
    assert kinds == [
        "weight.v1.tar", "weight.config.v1.tar", "doc.v1.tar", "code.v1.tar", "code.v1.tar",
    ]  # fmt: skip
    for layer in written["layers"]:
        assert layer["annotations"][FILE_PATH].startswith("bundle/")
        assert layer["annotations"][TITLE] == layer["annotations"][FILE_PATH] + ".tar"


def test_a_manifest_is_read_as_it_was_written() -> None:
    found = documents.read_manifest(manifest(), "it")
    assert found.kind is Kind.BUNDLE
    assert found.layers == (LAYER,)
    assert found.config == Blob(DIGEST, 7)


@pytest.mark.parametrize(
    "changes",
    [
        {"mediaType": "application/vnd.docker.distribution.manifest.v2+json"},
        {"artifactType": "application/vnd.oci.image.config.v1+json"},
        {"config": {}},
        {"config": {"mediaType": documents.CONFIG_TYPE, "digest": "sha256:../../x", "size": 1}},
        {"config": {"mediaType": documents.CONFIG_TYPE, "digest": DIGEST, "size": -1}},
        {"config": {"mediaType": documents.CONFIG_TYPE, "digest": DIGEST, "size": True}},
        {"layers": None},
        {"layers": []},
        {"layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"}]},
        {"annotations": {"dev.modelpack.kind": "rootkit"}},
        {"annotations": None},
    ],
)
def test_a_manifest_of_another_form_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(StoreError):
        documents.read_manifest(manifest(**changes), "it")


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(StoreError):
        documents.read_manifest(data, "it")


@pytest.mark.parametrize("name", ["../x", "UPPER", "", 5, None])
def test_a_config_cannot_bring_a_name_that_is_a_path(name: object) -> None:
    data = json.dumps(
        {"descriptor": {"name": name, "version": "1"}, "modelfs": {"diffIds": []}}
    ).encode()
    with pytest.raises(StoreError):
        documents.read_config(data, "it")


def test_the_format_is_said_only_when_there_is_one() -> None:
    tag = Tag("digits", "1")
    assert json.loads(documents.config_bytes(tag, "onnx", []))["config"] == {"format": "onnx"}
    assert json.loads(documents.config_bytes(tag, None, []))["config"] == {}
