"""The three JSON documents of an entry: config, manifest, index descriptor.

All are canonical JSON, so that their digests are stable.  The config holds to the CNCF ModelPack
schema to the letter; facts of our own are annotations of the manifest.  The version stands in the
config and in the index alone, so that a new version of the same content shares every layer.  The
names of the specification before v0.0.7 are read, too, and never written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelpack.errors import StoreError, TagError
from modelpack.manifest import canonical_json
from modelpack.store.base import (
    ALIAS,
    ARTIFACT_TYPE,
    CONFIG_TYPE,
    CREATED,
    FILE_PATH,
    KIND,
    LAYER_TYPES,
    MANIFEST_TYPE,
    REF_NAME,
    TITLE,
    Kind,
    Layer,
    ref_name,
)
from modelpack.store.durable import DIGEST, Blob
from modelpack.tag import Tag

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
_HINT = "it was not made by this modelpack, or it is damaged"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a manifest says."""

    kind: Kind
    config: Blob
    layers: tuple[Layer, ...]
    annotations: Mapping[str, str]

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Config and layers, each once."""
        layers = (Blob(layer.digest, layer.size) for layer in self.layers)
        return tuple(dict.fromkeys((self.config, *layers)))


def config_bytes(tag: Tag, model_format: str | None, layers: Sequence[Layer]) -> bytes:
    """Return the config of an entry; ``model_format`` is that of its one kind of model, if it has one."""
    return canonical_json(
        {
            "descriptor": {"name": tag.name, "version": tag.version},
            "config": {"format": model_format} if model_format else {},
            "modelfs": {"type": "layers", "diffIds": [layer.digest for layer in layers]},
        }
    )


def manifest_bytes(config: Blob, layers: Sequence[Layer], annotations: Mapping[str, str]) -> bytes:
    """Return the manifest of an entry."""
    return canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": ARTIFACT_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "digest": config.digest, "size": config.size},
            "layers": [
                {
                    "mediaType": layer.media_type,
                    "digest": layer.digest,
                    "size": layer.size,
                    "annotations": {FILE_PATH: layer.path, TITLE: f"{layer.path}.tar"},
                }
                for layer in layers
            ],
            "annotations": dict(annotations),
        }
    )


def descriptor(
    kind: Kind, tag: Tag, manifest: Blob, *, created: str | None = None, is_alias: bool = False
) -> dict[str, Any]:
    """Return what the index says of an entry."""
    annotations = {REF_NAME: ref_name(kind, tag), KIND: str(kind)}
    if created:
        annotations[CREATED] = created
    if is_alias:
        annotations[ALIAS] = "true"
    return {
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "digest": manifest.digest,
        "size": manifest.size,
        "annotations": annotations,
    }


def read_manifest(data: bytes, what: str) -> Manifest:
    """Read a manifest of ours or of a tool that copied one; raises StoreError."""
    value = read_json(data, what, named=_as_today)
    try:
        if (value["mediaType"], value["artifactType"]) != (MANIFEST_TYPE, ARTIFACT_TYPE):
            raise StoreError(f"{what} is not that of a model or bundle", hint=_HINT)
        config = read_blob(value["config"], CONFIG_TYPE)
        layers = tuple(_read_layer(layer) for layer in value["layers"])
        if not layers:
            raise ValueError("no layers")
        annotations = {str(k): str(v) for k, v in value["annotations"].items()}
        kind = Kind(annotations[KIND])
    except (KeyError, TypeError, ValueError, AttributeError) as cause:
        raise StoreError(f"{what} is not of the form that it must have", hint=_HINT) from cause
    return Manifest(kind, config, layers, annotations)


def read_config(data: bytes, what: str) -> tuple[Tag, list[str]]:
    """Return the tag and the layers' digests that a config names; raises StoreError."""
    value = read_json(data, what, named=_as_today)
    try:
        named = value["descriptor"]
        tag = Tag(named["name"], named["version"])
        digests = [str(digest) for digest in value["modelfs"]["diffIds"]]
    except (KeyError, TypeError, TagError) as cause:
        raise StoreError(f"{what} is not of the form that it must have", hint=_HINT) from cause
    if tag.version is None:
        raise StoreError(f"{what} names no version", hint=_HINT)
    return tag, digests


def read_blob(value: Mapping[str, Any], media_type: str) -> Blob:
    """Read digest and size of a descriptor; raises ValueError."""
    digest, size = value["digest"], value["size"]
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise ValueError(f"not a digest: {digest!r}")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ValueError(f"not a size: {size!r}")
    if value["mediaType"] != media_type:
        raise ValueError(f"not {media_type}: {value['mediaType']!r}")
    return Blob(digest, size)


Renames = Callable[[dict[str, Any]], dict[str, Any]]


def read_json(data: bytes, what: str, *, named: Renames | None = None) -> dict[str, Any]:
    """Return the JSON object in ``data``, each object of it through ``named``; raises StoreError."""
    try:
        value = json.loads(data, object_hook=named)
    except (ValueError, RecursionError) as cause:
        raise StoreError(f"{what} is not JSON", hint=_HINT) from cause
    if not isinstance(value, dict):
        raise StoreError(f"{what} is not a JSON object", hint=_HINT)
    return value


def _as_today(part: dict[str, Any]) -> dict[str, Any]:
    """Name things as the specification has since v0.0.7: before, it was of CNAI, and not of CNCF."""
    found = {_KEYS.get(key, key): value for key, value in part.items()}
    for key in ("mediaType", "artifactType"):
        if isinstance(kind := found.get(key), str):
            found[key] = kind.replace("application/vnd.cnai.model.", "application/vnd.cncf.model.")
    return found


_KEYS = {"org.cnai.model.filepath": FILE_PATH, "diff_ids": "diffIds"}


def _read_layer(value: Mapping[str, Any]) -> Layer:
    if value["mediaType"] not in LAYER_TYPES:
        raise ValueError(f"not a layer of ours: {value['mediaType']!r}")
    blob = read_blob(value, value["mediaType"])
    return Layer(value["mediaType"], blob.digest, blob.size, str(value["annotations"][FILE_PATH]))
