"""Opens an image wherever it is.

    reference ──► folder, file, engine, registry ──Source──► platform ──► ReadImage

Nothing is opened to be run: documents are read and checked, layers wait until somebody asks for
their bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from modelpack.errors import BadReferenceError, NotFoundError, ToolMissingError
from modelpack.image.reading.archives import DockerArchive, TarFiles
from modelpack.image.reading.choosing import choose_image, choose_tag
from modelpack.image.reading.exports import engine_source, find_in_engine
from modelpack.image.reading.image import ReadImage, read_image
from modelpack.image.reading.references import ImageReference, Where, parse_image
from modelpack.progress import SILENT, Progress
from modelpack.registry.base import Source
from modelpack.registry.counts import Counts
from modelpack.registry.layouts import Files, Folder, LayoutSource, read_index
from modelpack.registry.names import LayoutReference, RegistryReference, parse
from modelpack.registry.remote import RegistrySource
from modelpack.registry.transport import Transport
from modelpack.store.names import shown


@contextmanager
def open_image(
    reference: str,
    *,
    platform: str | None = None,
    insecure: bool = False,
    counts: Counts | None = None,
    progress: Progress = SILENT,
) -> Iterator[ReadImage]:
    """Give the image that ``reference`` means; it can be read until the block ends.

    reference  ``oci:DIR[:TAG]``, ``oci-archive:FILE[:TAG]``, ``docker-archive:FILE[:NAME]``,
               ``engine:NAME``, ``registry:HOST/NAME:TAG``, or ``NAME:TAG``: in the engine where
               one answers and has it, else in a registry
    platform   ``linux/arm64``; default: this machine's, or the only one that there is
    insecure   plain HTTP with any registry, and any certificate
    counts     hears of every byte that a registry sends
    progress   hears of what takes long: an export from the engine

    Raises BadReferenceError, NotFoundError (with the tags or platforms that there are), RefusedError
    for what is no image, DigestMismatchError, ToolMissingError without an engine, EngineError,
    LoginNeededError, UnreachableError, RegistryError.
    """
    found = parse_image(reference)
    with ExitStack() as stack:
        if found.where is Where.ANYWHERE:
            found = _located(found)
        source = _source(found, stack, insecure=insecure, counts=counts, progress=progress)
        document, index = choose_image(source, source.top(), platform, reference)
        yield read_image(source, document, index, name=reference, where=found.where)


def _located(reference: ImageReference) -> ImageReference:
    """Return where an image of that name is: in the engine, else in a registry."""
    name, hint = reference.name, "'registry:HOST/NAME:TAG' or 'oci:DIR' name an image elsewhere"
    why = "the engine has none of that name"
    try:
        if find_in_engine(name) is not None:
            return ImageReference(Where.ENGINE, name)
    except ToolMissingError as error:
        why = error.message
    try:
        _registry_reference(name)
    except BadReferenceError as cause:
        raise NotFoundError(
            f"no image '{shown(name)}': {why}, and it names no registry", hint=hint
        ) from cause
    return ImageReference(Where.REGISTRY, name)


def _source(
    reference: ImageReference,
    stack: ExitStack,
    *,
    insecure: bool,
    counts: Counts | None,
    progress: Progress,
) -> Source:
    if reference.where is Where.ENGINE:
        return engine_source(reference.name, progress)
    if reference.where is Where.REGISTRY:
        place = _registry_reference(reference.name)
        transport = Transport(place.host, insecure=insecure, counts=counts)
        stack.enter_context(closing(transport))
        return RegistrySource(transport, place)
    if reference.where is Where.LAYOUT:
        return _layout(Folder(reference.path), reference)
    files = stack.enter_context(closing(TarFiles(reference.path)))
    if reference.where is Where.DOCKER_ARCHIVE:
        return DockerArchive(files, reference.tag)
    return _layout(files, reference)


def _layout(files: Files, reference: ImageReference) -> Source:
    place = f"{reference.where}:{reference.name}"
    blob = choose_tag(read_index(files, place), reference)
    source = LayoutSource(files, LayoutReference(place, digest=blob.digest))
    source.name = str(reference)
    return source


def _registry_reference(name: str) -> RegistryReference:
    below = os.environ.get("MODELPACK_REGISTRY") or None
    found = parse(name, below=None if below and "://" in below else below)
    if not isinstance(found, RegistryReference):
        raise BadReferenceError(
            f"'{shown(name)}' is not in a registry", hint="write 'registry:HOST/NAME:TAG'"
        )
    return found
