"""What the store is made of: kinds, layers, entries, and the words of the format.

    index.json ── descriptor ──► manifest ──┬──► config   name, version, format
       (tag)                                └──► layers   weights, side files, doc, code

The format is that of the CNCF ModelPack specification in an OCI image layout, so that other
people's tools read it; see ``docs/reference/bundle-format.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from modelpack.tag import Tag

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
ARTIFACT_TYPES = (ARTIFACT_TYPE, "application/vnd.cnai.model.manifest.v1+json")
"""What is read: today's, and that of the specification up to v0.0.6."""
CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"

WEIGHT_TYPE = "application/vnd.cncf.model.weight.v1.tar"
SIDE_TYPE = "application/vnd.cncf.model.weight.config.v1.tar"
DOC_TYPE = "application/vnd.cncf.model.doc.v1.tar"
CODE_TYPE = "application/vnd.cncf.model.code.v1.tar"
LAYER_TYPES = (WEIGHT_TYPE, SIDE_TYPE, DOC_TYPE, CODE_TYPE)
"""In the order in which they stand in a manifest: what changes most comes last."""

CODE_PATH = "bundle/code"
"""Path of the layer that holds the service."""
WHEELS_PATH = "bundle/wheels"
"""Path of the layer that holds packages to install from."""

REF_NAME = "org.opencontainers.image.ref.name"
CREATED = "org.opencontainers.image.created"
TITLE = "org.opencontainers.image.title"
FILE_PATH = "org.cncf.model.filepath"
KIND = "dev.modelpack.kind"
ALIAS = "dev.modelpack.alias"
CONTENT = "dev.modelpack.content"
SUBJECT = "dev.modelpack.subject"

TOP = "bundle"
"""The one folder that every layer writes in."""

ARCHIVE_SUFFIX = ".modelpack"

Descriptor = dict[str, Any]
"""What an index says of a manifest, as plain JSON values."""


class Kind(StrEnum):
    """What an entry of the store is."""

    BUNDLE = "bundle"
    MODEL = "model"


@dataclass(frozen=True, slots=True)
class Layer:
    """One blob of files, an uncompressed tar."""

    media_type: str
    digest: str
    """``sha256:HEX``."""
    size: int
    """Bytes of the blob."""
    path: str
    """The file or folder that it brings, such as ``bundle/models/digits-clf/model.onnx``."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One tag of the store and what it points at."""

    kind: Kind
    tag: Tag
    """Always with a version."""
    digest: str
    """Digest of the manifest, ``sha256:HEX``: the identity."""
    size_bytes: int
    """All blobs together."""
    layers: tuple[Layer, ...]
    annotations: Mapping[str, str]
    """Those of the manifest."""
    created: str | None = None
    """When it was put into this store, UTC, RFC 3339; in no blob."""
    is_alias: bool = False
    """True for an extra tag of an entry; never ``latest``."""
    damage: str | None = None
    """What is wrong when its manifest cannot be read; ``layers`` is empty then."""

    @property
    def content(self) -> str | None:
        """Digest of the content alone, without name and version."""
        return self.annotations.get(CONTENT)

    @property
    def archive_name(self) -> str:
        """File name of its archive, ``NAME-VERSION.modelpack``."""
        return f"{self.tag.name}-{self.tag.version}{ARCHIVE_SUFFIX}"


def ref_name(kind: Kind, tag: Tag) -> str:
    """Return how a tag is written in the index: models stand below ``models/``."""
    return f"models/{tag}" if kind is Kind.MODEL else str(tag)
