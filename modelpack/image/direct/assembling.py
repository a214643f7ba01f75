"""Puts an image together: the config and the manifest of a base with layers of ours on it.

    base's layers ─┐
    layers made    ├─► layers, lowest first ──► config (rootfs, history, how it runs) ──► manifest
    bundle's blobs ┘

Pure: the same base, plan and layers give the same bytes.  The layers of the bundle are the very blobs
of the store, so that a registry that has the bundle has them already.  Facts: OCI image
specification 1.1, config.md and manifest.md; ``Healthcheck`` is Docker's, which config.md reserves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelpack.errors import RefusedError
from modelpack.image.direct.base import BaseFacts, OpenBase
from modelpack.image.plan import ImagePlan
from modelpack.image.reading import ReadLayer
from modelpack.manifest import canonical_json
from modelpack.registry.base import Document
from modelpack.store.base import MANIFEST_TYPE
from modelpack.store.durable import Blob

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
CREATED = "1970-01-01T00:00:00Z"
"""Of the image and of each layer of ours: a time would make another image of the same input."""

HEALTH = {"Interval": 5_000_000_000, "Timeout": 5_000_000_000, "StartPeriod": 120_000_000_000}
"""Nanoseconds, as Docker counts them; the same times as in the Dockerfile."""
HEALTH_RETRIES = 3

BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"
_OPEN_PREFIX = "org.opencontainers.image."

_KEPT_KEYS = ("architecture", "author", "os", "os.features", "os.version", "variant")
"""What the image says like its base; whatever else a base's config holds is left out."""
_KEPT_SETTINGS = ("Env", "ExposedPorts", "Labels", "Volumes")
_OCI_TYPES = {
    "application/vnd.docker.image.rootfs.diff.tar": LAYER_TYPE,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": f"{LAYER_TYPE}+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": f"{LAYER_TYPE}+zstd",
}
"""Names that schema 2 has for what OCI has as well."""


@dataclass(frozen=True, slots=True)
class ImageLayer:
    """One layer, wherever its bytes are now."""

    media_type: str
    blob: Blob
    diff_id: str
    """Digest of the uncompressed tar; that of the blob when it is not compressed."""
    created_by: str
    """One line of the history."""
    chunks: Callable[[], Iterator[bytes]]
    """Gives the stored bytes, from the start."""
    is_base: bool = False

    def descriptor(self) -> dict[str, Any]:
        """Return what a manifest says of it."""
        return {
            "mediaType": self.media_type,
            "digest": self.blob.digest,
            "size": self.blob.size,
        }


@dataclass(frozen=True, slots=True)
class DirectImage:
    """An image for one platform, in whole but for the bytes of its layers."""

    plan: ImagePlan
    base_digest: str
    facts: BaseFacts
    layers: tuple[ImageLayer, ...]
    config: bytes
    manifest: Document
    platform: Mapping[str, str]
    """As an index has it: ``os``, ``architecture``, perhaps ``variant``."""

    @property
    def digest(self) -> str:
        """Of the manifest: the identity."""
        return self.manifest.blob.digest

    @property
    def config_blob(self) -> Blob:
        """Digest (to engines: the id of the image) and size of the config."""
        return Document(self.config, CONFIG_TYPE).blob

    @property
    def size_bytes(self) -> int:
        """Everything that is stored of it."""
        parts = [one.blob.size for one in self.layers]
        return sum(parts) + len(self.config) + len(self.manifest.data)


def assemble(plan: ImagePlan, base: OpenBase, own: Sequence[ImageLayer]) -> DirectImage:
    """Return the image of a plan: the base with layers of ours, the lowest first.

    Raises RefusedError for a base whose config does not fit its layers.
    """
    below = base_layers(base)
    layers = (*below, *own)
    labels = _labels(plan, base)
    config = canonical_json(_config(plan, base, layers, labels))
    blob = Document(config, CONFIG_TYPE).blob
    manifest = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "digest": blob.digest, "size": blob.size},
            "layers": [layer.descriptor() for layer in layers],
            "annotations": {
                key: value for key, value in labels.items() if key.startswith(_OPEN_PREFIX)
            },
        }
    )
    said = base.image.config
    platform = {"os": str(said["os"]), "architecture": str(said["architecture"])}
    if said.get("variant"):
        platform["variant"] = str(said["variant"])
    return DirectImage(
        plan, base.digest, base.facts, layers, config, Document(manifest, MANIFEST_TYPE), platform
    )


def base_layers(base: OpenBase) -> list[ImageLayer]:
    """Return the layers of a base as OCI has them; raises RefusedError for those it cannot have."""
    return [
        ImageLayer(
            _oci_type(layer, base), layer.blob, layer.diff_id, "", layer.chunks, is_base=True
        )
        for layer in base.image.layers
    ]


def _oci_type(layer: ReadLayer, base: OpenBase) -> str:
    found = _OCI_TYPES.get(layer.media_type, layer.media_type)
    if not found.startswith(LAYER_TYPE):
        raise RefusedError(
            f"the base '{base.image.name}' has a layer of the kind '{found[:80]}', "
            "which an image that is passed on cannot have",
            hint="name another base with --base",
        )
    return found


def _config(
    plan: ImagePlan, base: OpenBase, layers: Sequence[ImageLayer], labels: Mapping[str, str]
) -> dict[str, Any]:
    found = base.image.config
    said = base.image.settings
    settings = {key: said[key] for key in _KEPT_SETTINGS if said.get(key)}
    env = dict(pair.partition("=")[::2] for pair in settings.get("Env", ())) | dict(plan.env)
    test = {"Test": ["CMD", *plan.health_check], **HEALTH, "Retries": HEALTH_RETRIES}
    return {
        **{key: found[key] for key in _KEPT_KEYS if found.get(key)},
        "created": CREATED,
        "config": {
            **settings,
            "Entrypoint": list(plan.entry_point),
            "Env": [f"{name}={value}" for name, value in env.items()],
            "ExposedPorts": {**settings.get("ExposedPorts", {}), **_exposed(plan)},
            "Healthcheck": test,
            "Labels": labels,
            "StopSignal": plan.stop_signal,
            "User": plan.user,
            "WorkingDir": plan.workdir,
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": _history(found, layers),
    }


def _exposed(plan: ImagePlan) -> dict[str, Any]:
    return {f"{port}/tcp": {} for port in (plan.port, *plan.other_ports.values())}


def _history(found: Mapping[str, Any], layers: Sequence[ImageLayer]) -> list[dict[str, Any]]:
    """Return a line for each layer; those of the base as it has them, if they are that many."""
    below = [layer for layer in layers if layer.is_base]
    said = [one for one in found.get("history") or () if isinstance(one, dict)]
    if sum(not one.get("empty_layer") for one in said) != len(below):
        said = [{"created": CREATED, "created_by": "base"} for _ in below]
    ours = [
        {"created": CREATED, "created_by": layer.created_by}
        for layer in layers
        if not layer.is_base
    ]
    return [*said, *ours]


def _labels(plan: ImagePlan, base: OpenBase) -> dict[str, str]:
    """Return the labels of base and plan, and what the image stands on; no path of this machine."""
    labels = {**base.image.labels, **plan.labels, BASE_DIGEST: base.digest}
    labels.pop(BASE_NAME, None)
    if base.name is not None:
        labels[BASE_NAME] = base.name
    return dict(sorted(labels.items()))
