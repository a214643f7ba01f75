"""Chooses one image where several are: by platform in an index, by tag in a layout.

    top ─┬─ a manifest ────────────────────────────► that one, if its platform is the one asked for
         └─ an index ──platforms──► those of images ──asked for, or this machine's──► one manifest

Artifacts beside images (bundles, signatures, attestations, which name the platform ``unknown``) are
left out.  Indexes may stand in each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelpack.archive.platforms import host_platform
from modelpack.errors import NotFoundError, RefusedError, UsageError
from modelpack.image.reading.image import CONFIG_TYPES, platform_of, read_json_blob, refuse_others
from modelpack.image.reading.references import ImageReference
from modelpack.registry.base import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    MAX_DEPTH,
    Document,
    Source,
    read_descriptor,
)
from modelpack.store import index
from modelpack.store.base import REF_NAME, SUBJECT
from modelpack.store.documents import MAX_DOCUMENT_BYTES
from modelpack.store.durable import DIGEST, Blob
from modelpack.store.names import shown

MAX_IMAGES = 200
"""Most images of one index that are looked at."""
_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(/[a-z0-9.]+)?")
_CONTAINERD_NAME = "io.containerd.image.name"
_SAID = 5


@dataclass(frozen=True, slots=True)
class _Candidate:
    platform: str
    document: Document


def check_platform(platform: str) -> str:
    """Return ``OS/ARCHITECTURE[/VARIANT]`` as it is compared; raises UsageError."""
    if not _PLATFORM.fullmatch(platform):
        raise UsageError(
            f"'{shown(platform)}' is not a platform",
            hint="write OS/ARCHITECTURE, such as 'linux/amd64' or 'linux/arm64'",
        )
    system, machine, *variant = platform.split("/")
    said = {"os": system, "architecture": machine, "variant": "".join(variant)}
    return platform_of(said)


def choose_image(
    source: Source, top: Document, platform: str | None, name: str
) -> tuple[Document, Document | None]:
    """Return the manifest that is meant, and the index that it stands in, if there is one.

    platform  asked for; None: this machine's, or the only one there is

    Raises NotFoundError with the platforms that there are, RefusedError for what is no image.
    """
    wanted = check_platform(platform) if platform is not None else None
    if top.media_type in MANIFEST_TYPES:
        refuse_others(top.value, name)
        if wanted is not None and (found := _platform(source, top)) != wanted:
            raise _none_for(wanted, [found], name)
        return top, None
    if top.media_type not in INDEX_TYPES:
        raise RefusedError(
            f"'{shown(name)}' is a '{shown(top.media_type)}', which is no image that is known",
            hint="images of schema 1 are too old: pull and push it again with a newer tool",
        )
    images = list(_images(source, top, 0))
    if not images:
        raise RefusedError(f"'{shown(name)}' is an index without any image")
    chosen = [one for one in images if one.platform == (wanted or host_platform().name)]
    if not chosen and wanted is None and len(images) == 1:
        chosen = images
    if not chosen:
        raise _none_for(wanted or host_platform().name, [one.platform for one in images], name)
    return chosen[0].document, top


def choose_tag(descriptors: Sequence[Mapping[str, Any]], reference: ImageReference) -> Blob:
    """Return what a tag, a digest or nothing means in the index of a layout; raises NotFoundError."""
    listed = [dict(one) for one in descriptors]
    named = {
        name: one
        for one in listed
        for name in (index.annotation(one, _CONTAINERD_NAME), index.annotation(one, REF_NAME))
        if name
    }
    tag, place = reference.tag, f"{reference.where}:{shown(reference.name)}"
    if tag is None:
        images = {str(one.get("digest")): one for one in listed if _may_be_image(one)}
        if len(images) != 1:
            shown_tags = ", ".join(f"'{shown(name)}'" for name in list(named)[-_SAID:])
            raise NotFoundError(
                f"'{place}' holds {len(images) or 'no'} images{': say which' * bool(images)}",
                hint=f"write '{place}:TAG'; its tags are {shown_tags}" if named else None,
            )
        return _blob(next(iter(images.values())))
    found = named.get(tag)
    if found is None and DIGEST.fullmatch(tag):
        found = next((one for one in listed if one.get("digest") == tag), None)
    if found is None:
        shown_tags = ", ".join(f"'{shown(name)}'" for name in list(named)[-_SAID:])
        raise NotFoundError(
            f"'{place}' has no '{shown(tag)}'", hint=f"its tags are {shown_tags or 'none'}"
        )
    return _blob(found)


def platforms_of(top: Document) -> tuple[str, ...]:
    """Return the platforms that an index names for its images, in its order."""
    listed = top.value.get("manifests")
    found = [
        platform_of(one["platform"])
        for one in (listed if isinstance(listed, list) else [])[:MAX_IMAGES]
        if isinstance(one, dict) and isinstance(one.get("platform"), dict)
    ]
    return tuple(dict.fromkeys(one for one in found if one != "unknown/unknown"))


def _may_be_image(descriptor: Mapping[str, Any]) -> bool:
    """Say whether a descriptor does not say that it is something else than an image."""
    is_statement = index.annotation(dict(descriptor), SUBJECT) is not None
    kinds = (*MANIFEST_TYPES, *INDEX_TYPES)
    is_known = descriptor.get("mediaType") in kinds
    return is_known and not is_statement and not descriptor.get("artifactType")


def _images(source: Source, top: Document, depth: int) -> Iterator[_Candidate]:
    if depth == MAX_DEPTH:
        raise RefusedError(f"'{source.name}' has too many indexes in each other")
    listed = top.value.get("manifests")
    for entry in (listed if isinstance(listed, list) else [])[:MAX_IMAGES]:
        blob = read_descriptor(entry, top)
        said = entry.get("platform")
        platform = platform_of(said) if isinstance(said, dict) else None
        if entry.get("artifactType") or platform == "unknown/unknown":
            continue
        if blob.size > MAX_DOCUMENT_BYTES:
            raise RefusedError(f"'{blob.digest}' is too long for a manifest")
        document = source.document(blob)
        if document.media_type in INDEX_TYPES:
            yield from _images(source, document, depth + 1)
        elif _is_image(document):
            yield _Candidate(platform or _platform(source, document), document)


def _is_image(document: Document) -> bool:
    config = document.value.get("config")
    return isinstance(config, dict) and config.get("mediaType") in CONFIG_TYPES


def _platform(source: Source, document: Document) -> str:
    blob = read_descriptor(document.value.get("config"), document)
    return platform_of(read_json_blob(source, blob))


def _blob(descriptor: Mapping[str, Any]) -> Blob:
    return read_descriptor(descriptor, Document(b"{}", ""))


def _none_for(wanted: str, there: Sequence[str], name: str) -> NotFoundError:
    known = ", ".join(f"'{one}'" for one in dict.fromkeys(there))
    return NotFoundError(
        f"'{shown(name)}' has no image for '{wanted}'", hint=f"it has {known}: see '--platform'"
    )
