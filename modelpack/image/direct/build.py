"""Builds an image without a container engine.

    plan, one a platform ──► base ──► packages, bytecode, server (``packages``) ──┐
                                      models, doc, code (``bundled``) ────────────┴─► assemble
                                                                                         │
    outputs ◄── write ◄── one image, or an index of several, with what is said about it ◄──┘

Nothing of the bundle or the base is run.  The same base, bundle and modelpack give the same image,
digest for digest, whoever builds it, wherever and whenever.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from modelpack.errors import UsageError
from modelpack.image.direct.assembling import DirectImage, ImageLayer, assemble
from modelpack.image.direct.base import OpenBase, open_base
from modelpack.image.direct.bundled import bundle_layers, reading
from modelpack.image.direct.cache import LayerFile
from modelpack.image.direct.lent import refuse_leaks
from modelpack.image.direct.outputs import FORMS, Output, Product, Written, parse_output, write
from modelpack.image.direct.packages import PythonPlace, package_layers
from modelpack.image.direct.schema2 import in_schema2
from modelpack.image.direct.source import ImageSource
from modelpack.image.direct.statements import statements
from modelpack.image.plan import ImagePlan
from modelpack.image.reference import check_image_name, default_reference
from modelpack.progress import SILENT, Progress
from modelpack.registry.counts import Counts
from modelpack.registry.operations import PLAIN, Options
from modelpack.store import Store
from modelpack.store.durable import Blob


@dataclass(frozen=True, slots=True)
class DirectResult:
    """What was built, and where it is."""

    reference: str
    """``NAME:TAG``, where no output gave another."""
    digest: str
    """Of the manifest, or of the index of several platforms."""
    images: tuple[DirectImage, ...]
    """One a platform."""
    written: tuple[Written, ...]
    """One an output, in the order in which they were asked for."""

    @property
    def size_bytes(self) -> int:
        """Everything that is stored of it, bases included."""
        return sum(image.size_bytes for image in self.images)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "reference": self.reference,
            "digest": self.digest,
            "size_bytes": self.size_bytes,
            "images": [
                {
                    "platform": image.plan.platform.name,
                    "digest": image.digest,
                    "id": image.config_blob.digest,
                    "base_digest": image.base_digest,
                    "glibc": image.facts.glibc,
                    "size_bytes": image.size_bytes,
                    "own_bytes": sum(one.blob.size for one in image.layers if not one.is_base),
                }
                for image in self.images
            ],
            "outputs": [one.to_json() for one in self.written],
        }


def build_direct(
    plans: Sequence[ImagePlan],
    store: Store,
    *,
    base: str | None,
    outputs: Sequence[str],
    reference: str | None = None,
    compress: bool = False,
    schema2: bool = False,
    options: Options = PLAIN,
    progress: Progress = SILENT,
    counts: Counts | None = None,
) -> DirectResult:
    """Build the image of a bundle and write it to every output.

    plans      one for each platform; of several an index is made
    base       ``oci:DIR[:TAG]``, ``oci-archive:FILE``, ``docker-archive:FILE``, ``engine:NAME`` or
               ``HOST/NAME:TAG``; default: the plan's, in the engine or a registry
    outputs    ``oci:DIR[:NAME:TAG]``, ``docker-archive:FILE[:NAME:TAG]``, ``engine``,
               ``HOST/NAME[:TAG]``; a tag that is there already moves, as with ``docker push``
    reference  ``NAME:TAG``; default: the bundle's tag
    compress   stores the layers that are made here as gzip
    schema2    writes Docker's manifest instead of OCI's, with gzip layers and nothing said about it
    options    how registries are spoken to
    counts     hears of every byte that registries are sent or send

    Raises UsageError, RefusedError for a base that does not fit, SecretFoundError for a login that
    got into a layer, DigestMismatchError when base or bundle is damaged, and what base and outputs raise
    (NotFoundError, BuildError, StoreError, EngineError, LoginNeededError, UnreachableError).  What
    was written to an output before another one failed stays there whole.
    """
    name = check_image_name(reference or default_reference(plans[0].entry.tag))
    wanted = _outputs(outputs, name, plans)
    counts = counts or Counts()
    with ExitStack() as stack:
        bases = [
            stack.enter_context(
                open_base(plan, base, insecure=options.insecure, progress=progress, counts=counts)
            )
            for plan in plans
        ]
        for plan, one in zip(plans, bases, strict=True):
            for warning in plan.warnings_on(one.image.settings.get("Env") or ()):
                progress.note(f"warning: {warning}")
        images = tuple(
            _image(plan, one, store, compress=compress, progress=progress)
            for plan, one in zip(plans, bases, strict=True)
        )
        for image in images:
            refuse_leaks(image)
        if schema2:
            images = tuple(in_schema2(image, progress) for image in images)
        sources = tuple(
            ImageSource(image, () if schema2 else statements(image, store, name), name)
            for image in images
        )
        product = Product(images, sources, tuple(one.image.place for one in bases))
        written = []
        for output in wanted:
            with progress.step(f"write {output}"):
                written.append(write(product, output, options, counts))
    return DirectResult(name, product.top.blob.digest, images, tuple(written))


def _outputs(texts: Sequence[str], name: str, plans: Sequence[ImagePlan]) -> list[Output]:
    """Read the outputs, and refuse what cannot be before anything is made."""
    if not texts:
        raise UsageError("there is no place for the image", hint=f"give --output: {FORMS}")
    platforms = [plan.platform.name for plan in plans]
    if twice := {one for one in platforms if platforms.count(one) > 1}:
        raise UsageError(f"'{min(twice)}' is asked for twice")
    for plan in plans:
        if plan.system_packages:
            raise UsageError(
                f"'{plan.system_packages[0]}' is a Debian package, which only an engine can install",
                hint="build with --engine docker, or name a base that has it and take it out of "
                "'image.system_packages'",
            )
    found = [parse_output(text, name, several=len(plans) > 1) for text in texts]
    if again := [output for number, output in enumerate(found) if output in found[:number]]:
        raise UsageError(f"the output '{again[0]}' is asked for twice")
    return found


def _image(
    plan: ImagePlan, base: OpenBase, store: Store, *, compress: bool, progress: Progress
) -> DirectImage:
    """Make the layers of one platform and put them on its base."""
    made: Sequence[LayerFile] = ()
    if plan.program is None:
        place = PythonPlace(base.python.path, base.python.version)
        made = package_layers(plan, store, place, compress=compress, progress=progress)
    own = [
        ImageLayer(
            layer.media_type,
            Blob(layer.digest, layer.size),
            layer.diff_id,
            layer.created_by,
            reading(layer.path, layer.digest),
        )
        for layer in made
    ]
    return assemble(plan, base, [*own, *bundle_layers(plan, store)])
