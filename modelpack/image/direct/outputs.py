"""Where an image that was put together here goes.

    oci:DIR[:NAME:TAG]      an OCI image layout in a folder, with what is said about the image
    docker-archive:FILE[:NAME:TAG]    one tar that ``docker load`` and skopeo read
    engine                  the container engine of this machine, without what it has already
    HOST/NAME[:TAG]         a registry: only what it does not have is sent; with what is said
    registry:HOST/NAME[:TAG]    the same

Nothing is half written: a folder lists an image, a registry has its tag, a file has its name when all
of it is there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from modelpack.errors import UsageError
from modelpack.image.direct.archives import write_archive
from modelpack.image.direct.assembling import DirectImage
from modelpack.image.direct.layouts import LayoutTarget
from modelpack.image.direct.loading import load
from modelpack.image.direct.source import ImageSource, IndexSource, index_document
from modelpack.image.reference import check_image_name
from modelpack.registry.base import Document, Graph, Outcome, Place, Source, Target
from modelpack.registry.counts import Counts
from modelpack.registry.names import RegistryReference, parse
from modelpack.registry.operations import Options
from modelpack.registry.reader import BlobReader
from modelpack.registry.remote import RegistryTarget
from modelpack.registry.transfer import transfer
from modelpack.registry.transport import Transport
from modelpack.store.names import shown

FORMS = "'oci:DIR', 'docker-archive:FILE', 'engine' or 'HOST/NAME:TAG'"
"""What ``--output`` may be."""


# annotations.md of the OCI image specification, org.opencontainers.image.ref.name.
_COMPONENT = r"[A-Za-z0-9]+(?:(?:[-._:@+]|--)[A-Za-z0-9]+)*"
_REF_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")


class Form(StrEnum):
    """The kinds of places that an image can go to."""

    LAYOUT = "oci"
    ARCHIVE = "docker-archive"
    ENGINE = "engine"
    REGISTRY = "registry"


@dataclass(frozen=True, slots=True)
class Output:
    """One place that an image goes to."""

    form: Form
    place: str
    """Path of the folder or file, the reference in a registry; empty for the engine."""
    name: str
    """``NAME:TAG`` that the image gets there."""

    def __str__(self) -> str:
        if self.form in (Form.ENGINE, Form.REGISTRY):
            return self.name
        return f"{self.form}:{self.place}:{self.name}"


@dataclass(frozen=True, slots=True)
class Written:
    """What writing an image to one place took."""

    output: Output
    new_bytes: int
    """Sent to a registry or an engine, written into a folder or file."""
    kept_bytes: int = 0
    """Blobs that were there already, or were mounted."""
    mounted_bytes: int = 0
    """Those of them that were mounted out of another repository."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "output": str(self.output),
            "new_bytes": self.new_bytes,
            "kept_bytes": self.kept_bytes,
            "mounted_bytes": self.mounted_bytes,
        }


@dataclass(frozen=True, slots=True)
class Product:
    """Images of all platforms, ready to go."""

    images: tuple[DirectImage, ...]
    sources: tuple[ImageSource, ...]
    """The images as they move, in the same order."""
    base_places: tuple[Place | None, ...]
    """Repositories of the bases, in the same order."""

    @property
    def top(self) -> Document:
        """The manifest of the only image, or the index of several."""
        return self.top_source.top()

    @property
    def top_source(self) -> Source:
        """The only image, or the index of several."""
        if len(self.sources) == 1:
            return self.sources[0]
        names = {key: text for key, text in self._annotations.items() if "base" not in key}
        return IndexSource(
            self.sources, index_document(self.images, names), f"{self.images[0].plan.entry.tag}"
        )

    @property
    def _annotations(self) -> dict[str, str]:
        found = self.images[0].manifest.value.get("annotations")
        return dict(found) if isinstance(found, dict) else {}


def parse_output(text: str, name: str, *, several: bool = False) -> Output:
    """Read an output; ``name`` is ``NAME:TAG`` of the image where the output gives none.

    Raises UsageError, also for one that cannot hold ``several`` platforms.
    """
    if text == Form.ENGINE:
        found = Output(Form.ENGINE, "", name)
    else:
        word, _, rest = text.partition(":")
        if word in (Form.LAYOUT, Form.ARCHIVE):
            path, _, own = rest.partition(":")
            if not path:
                raise UsageError(f"'{shown(text)}' names no path", hint=f"outputs are {FORMS}")
            found = Output(Form(word), path, own or name)
            if own and found.form is Form.ARCHIVE:
                found = replace(found, name=check_image_name(own))
            if own and not _REF_NAME.fullmatch(own):
                raise UsageError(
                    f"'{shown(own)}' cannot name an image in a layout",
                    hint="give NAME:TAG, such as 'oci:out:digits:1'",
                )
        else:
            found = _registry_output(rest if word == Form.REGISTRY else text, text, name)
    if several and found.form in (Form.ARCHIVE, Form.ENGINE):
        raise UsageError(
            f"'{shown(text)}' holds an image for one platform, not for several",
            hint="write them to 'oci:DIR' or a registry, or give one --platform",
        )
    return found


def _registry_output(rest: str, text: str, name: str) -> Output:
    if "/" not in rest:
        raise UsageError(f"'{shown(text)}' is no place for an image", hint=f"outputs are {FORMS}")
    found = parse(rest)
    if not isinstance(found, RegistryReference):
        raise UsageError(
            f"'{shown(text)}' is a place for bundles, not for images", hint=f"outputs are {FORMS}"
        )
    if found.digest is not None:
        raise UsageError(
            f"'{shown(text)}' names a digest, which an image has only once it is made",
            hint="give HOST/NAME:TAG",
        )
    if found.tag is None:
        found = replace(found, tag=name.rpartition(":")[2])
    return Output(Form.REGISTRY, str(found), str(found))


def write(product: Product, output: Output, options: Options, counts: Counts) -> Written:
    """Write an image to one place; raises what the place raises (registry, engine, StoreError)."""
    if output.form is Form.ARCHIVE:
        image, source = product.images[0], product.sources[0]
        return Written(output, write_archive(image, source, output.name, Path(output.place)))
    if output.form is Form.ENGINE:
        sent = load(product.images[0], product.sources[0], output.name)
        return Written(output, sent, max(0, product.images[0].size_bytes - sent))
    if output.form is Form.LAYOUT:
        return _to_layout(product, output)
    return _to_registry(product, output, options, counts)


def _to_layout(product: Product, output: Output) -> Written:
    tally = _Tally()

    def target(ref: str | None, number: int | None) -> Target:
        platform = dict(product.images[number].platform) if number is not None else None
        made = LayoutTarget(Path(output.place), ref, platform)
        # The index of several comes last and meets their blobs again: those are counted already.
        return made if number is None else _Counting(made, tally)

    _move(product, output.name, target, Counts())
    return Written(output, tally.new_bytes, tally.kept_bytes)


def _to_registry(product: Product, output: Output, options: Options, counts: Counts) -> Written:
    reference = parse(output.place)
    if not isinstance(reference, RegistryReference):
        raise AssertionError
    before = (counts.sent_bytes, counts.saved_bytes, counts.mounted_bytes)
    with closing(
        Transport(
            reference.host,
            insecure=options.insecure,
            counts=counts,
            find_credentials=options.find_credentials,
        )
    ) as transport:

        def target(ref: str | None, number: int | None) -> Target:
            where = reference
            if ref is None and number is not None:
                digest = product.images[number].digest
                where = replace(reference, tag=None, digest=digest)
            return _Placed(RegistryTarget(transport, where, may_move=True), product)

        _move(product, output.name, target, counts)
    return Written(
        output,
        counts.sent_bytes - before[0],
        counts.saved_bytes - before[1],
        counts.mounted_bytes - before[2],
    )


MakeTarget = Callable[[str | None, int | None], Target]
"""Makes the target of the top (by name), or of one platform's image (by its number alone)."""


def _move(product: Product, name: str, target: MakeTarget, counts: Counts) -> None:
    """Move the only image, or each of several, with what is said about it, and then the index."""
    if len(product.sources) == 1:
        transfer(product.sources[0], target(name, 0), counts)
        return
    for number, source in enumerate(product.sources):
        transfer(source, target(None, number), counts)
    transfer(product.top_source, target(name, None), Counts())


class _Passing:
    """A target that passes everything on."""

    def __init__(self, target: Target) -> None:
        self.name = target.name
        self._target = target

    def takes(self, referrer: Document) -> bool:
        return self._target.takes(referrer)

    def open(self, graph: Graph) -> Any:
        return self._target.open(graph)

    def begin(self, graph: Graph, bring: Callable[[Any], object]) -> bool:
        return self._target.begin(graph, bring)

    def put(self, reader: BlobReader, place: Place | None) -> Outcome:
        return self._target.put(reader, place)

    def finish(self, graph: Graph) -> None:
        self._target.finish(graph)


class _Placed(_Passing):
    """Says of each blob where it can be mounted from: layers of a base, from the base's repository."""

    def __init__(self, target: Target, product: Product) -> None:
        super().__init__(target)
        self._places = {
            layer.blob.digest: place
            for image, place in zip(product.images, product.base_places, strict=True)
            for layer in image.layers
            if layer.is_base and place is not None
        }

    def put(self, reader: BlobReader, place: Place | None) -> Outcome:
        return self._target.put(reader, self._places.get(reader.blob.digest, place))


class _Tally:
    """Bytes that were written, and that were there."""

    def __init__(self) -> None:
        self.new_bytes = 0
        self.kept_bytes = 0


class _Counting(_Passing):
    """Counts what was written."""

    def __init__(self, target: Target, tally: _Tally) -> None:
        super().__init__(target)
        self._tally = tally

    def put(self, reader: BlobReader, place: Place | None) -> Outcome:
        outcome = self._target.put(reader, place)
        if outcome is Outcome.MOVED:
            self._tally.new_bytes += reader.blob.size
        else:
            self._tally.kept_bytes += reader.blob.size
        return outcome
