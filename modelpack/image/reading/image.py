"""An image that is there already, as a value: its config, its layers, and how to get their bytes.

    Source + manifest ──read_image──► ReadImage ──► layers ──unpacked──► bytes of a tar

Documents and blobs are believed by their digests alone.  Nothing of a layer is read before somebody
asks for its bytes, and as long as the place is open they can be asked for again and again.

Config and its ``rootfs.diff_ids``: OCI image specification 1.1, config.md; the Docker forms (image
manifest version 2, schema 2) differ in their media types alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelpack.errors import NotFoundError, RefusedError, RegistryError
from modelpack.image.reading import unpacking
from modelpack.image.reading.references import Where
from modelpack.registry.base import (
    MAX_REFERRERS,
    Document,
    Place,
    Source,
    blobs_of,
    read_descriptor,
)
from modelpack.registry.reader import BlobReader
from modelpack.store.base import ARTIFACT_TYPE
from modelpack.store.documents import MAX_DOCUMENT_BYTES
from modelpack.store.durable import DIGEST, Blob
from modelpack.store.names import shown

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
CONFIG_TYPES = (CONFIG_TYPE, DOCKER_CONFIG_TYPE)
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
GZIP_LAYER_TYPE = f"{LAYER_TYPE}+gzip"

_HINT = "nothing of it was used; get it again from who made it"


@dataclass(frozen=True, slots=True)
class ReadLayer:
    """One layer, wherever its bytes are."""

    blob: Blob
    """Digest and size as it is stored."""
    media_type: str
    """What the manifest says; the bytes are the truth (``unpacking``)."""
    diff_id: str
    """``sha256:HEX`` of the tar."""
    chunks: Callable[[], Iterator[bytes]] = field(repr=False, compare=False)
    """Gives the bytes as they are stored, from the beginning; whoever takes them checks them."""

    def unpacked(self) -> Iterator[bytes]:
        """Give the bytes of the tar.

        Raises DigestMismatchError, at the end, when they are not those of ``diff_id``; RefusedError
        for zstd and for bombs; whatever the place raises.
        """
        what = f"the layer '{self.blob.digest[:19]}'"
        return unpacking.unpacked(self.chunks(), self.diff_id, what)


@dataclass(frozen=True, slots=True)
class ReadImage:
    """One image for one platform; usable while its place is open."""

    name: str
    """The reference, as it was given."""
    where: Where
    """Which kind of place it was found in; never ``ANYWHERE``."""
    platform: str
    """``linux/amd64``, ``linux/arm/v7``: what its config says."""
    document: Document
    """Its manifest; for an engine and a docker archive one that is made here, the same each time."""
    config: dict[str, Any]
    """The whole config: architecture, os, config, rootfs, history."""
    layers: tuple[ReadLayer, ...]
    """Lowest first."""
    place: Place | None = None
    """The repository of a registry, out of which its blobs can be mounted."""
    index: Document | None = None
    """The index that it was chosen from; None when there was none."""
    read_referrers: Callable[[], Sequence[Document]] = field(
        default=tuple, repr=False, compare=False
    )
    """Gives the manifests that speak about it or about its index, such as an SBOM's."""

    @property
    def digest(self) -> str:
        """Digest of the manifest."""
        return self.document.blob.digest

    @property
    def config_blob(self) -> Blob:
        """Digest and size of the config."""
        return read_descriptor(self.document.value.get("config"), self.document)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The part of the config that a container runs by: Env, Entrypoint, User …"""
        found = self.config.get("config")
        return found if isinstance(found, dict) else {}

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        found = self.settings.get("Labels")
        return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def read_image(
    source: Source, document: Document, index: Document | None, *, name: str, where: Where
) -> ReadImage:
    """Read the config of a manifest and check that the two fit together; raises RefusedError."""
    value = document.value
    refuse_others(value, name)
    blobs = blobs_of(document)
    config = read_json_blob(source, blobs[0])
    diff_ids = _diff_ids(config)
    listed = value["layers"]
    if diff_ids is None or len(diff_ids) != len(listed):
        raise RefusedError(
            f"the config of '{shown(name)}' does not have one 'diff_id' a layer", hint=_HINT
        )
    layers = tuple(
        ReadLayer(blob, str(said.get("mediaType", "")), diff_id, _chunks(source, blob))
        for blob, said, diff_id in zip(blobs[1:], listed, diff_ids, strict=True)
    )
    return ReadImage(
        name=name,
        where=where,
        platform=platform_of(config),
        document=document,
        config=config,
        layers=layers,
        place=source.place,
        index=index,
        read_referrers=lambda: _referrers(source, document, index),
    )


def refuse_others(value: Mapping[str, Any], name: str) -> None:
    """Raise RefusedError unless a manifest is that of an image."""
    config = value.get("config")
    kind = config.get("mediaType") if isinstance(config, dict) else None
    if kind in CONFIG_TYPES:
        return
    if value.get("artifactType") == ARTIFACT_TYPE:
        raise RefusedError(
            f"'{shown(name)}' is a bundle or a model, not an image",
            hint="'modelpack pull' and 'modelpack inspect' show it, 'modelpack containerize' "
            "makes an image of it",
        )
    kind = str(value.get("artifactType") or kind or "nothing known")
    raise RefusedError(f"'{shown(name)}' is not an image but '{shown(kind)}'", hint=_HINT)


def read_json_blob(source: Source, blob: Blob) -> dict[str, Any]:
    """Return a small blob that is a JSON object; raises RefusedError, DigestMismatchError."""
    if blob.size > MAX_DOCUMENT_BYTES:
        raise RefusedError(f"the config '{blob.digest}' has {blob.size} bytes", hint=_HINT)
    reader = BlobReader(blob, lambda offset: source.chunks(blob, offset), source=source.name)
    data = b"".join(reader.read())
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as cause:
        raise RefusedError(f"the config '{blob.digest}' is not JSON", hint=_HINT) from cause
    if not isinstance(found, dict):
        raise RefusedError(f"the config '{blob.digest}' is not an object", hint=_HINT)
    return found


def platform_of(said: Mapping[str, Any]) -> str:
    """Return ``OS/ARCHITECTURE[/VARIANT]`` of a config or a descriptor's ``platform``.

    The variant that every processor of an architecture has (amd64 v1, arm64 v8) is left out.
    """
    parts = [shown(str(said.get(key) or "")) for key in ("os", "architecture", "variant")]
    if tuple(parts[1:]) in (("amd64", "v1"), ("arm64", "v8")):
        parts[2] = ""
    return "/".join([parts[0] or "unknown", parts[1] or "unknown", *filter(None, parts[2:])])


def _diff_ids(config: Mapping[str, Any]) -> list[str] | None:
    rootfs = config.get("rootfs")
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(found, list):
        return None
    if not all(isinstance(one, str) and DIGEST.fullmatch(one) for one in found):
        return None
    return found


def _chunks(source: Source, blob: Blob) -> Callable[[], Iterator[bytes]]:
    return lambda: source.chunks(blob, 0)


def _referrers(source: Source, document: Document, index: Document | None) -> list[Document]:
    """Return what is said about an image or its index; what cannot be read is left out."""
    found: dict[str, Document] = {}
    for subject in filter(None, (document, index)):
        for blob in source.referrers(subject.blob)[:MAX_REFERRERS]:
            try:
                referrer = source.document(blob)
                said = referrer.value.get("subject")
            except (NotFoundError, RefusedError, RegistryError):
                continue
            if isinstance(said, dict) and said.get("digest") == subject.blob.digest:
                found[blob.digest] = referrer
    return list(found.values())
