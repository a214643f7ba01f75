"""Keeps images within a size, and says what to leave out of one that is not.

    ImagePlan + limit ──check_budget──► what could not be counted, or TooLargeError     before
    made image + limit ──check_size───► TooLargeError                                   after

A plan fails only by what is known: sizes that nobody here knows are named, and counted when the image
is there.  The advice is the one thing that gains most: CUDA that is there twice or is not needed, the
base, a model, or as many packages as are enough.  Packages that the server itself needs are no advice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from modelpack.config.units import format_size
from modelpack.errors import TooLargeError
from modelpack.image.bases import is_cuda_base, is_cuda_package
from modelpack.image.plan import ImagePlan, LayerKind, listed
from modelpack.image.sizes import SizedPackage
from modelpack.manifest import RUNTIME_REQUIREMENTS

_SHOWN_PARTS = 4


@dataclass(frozen=True, slots=True)
class _Part:
    """Something of an image that one could do without, or have smaller."""

    what: str
    size_bytes: int

    def __str__(self) -> str:
        return f"{self.what} {format_size(self.size_bytes)}"


def check_budget(plan: ImagePlan, limit_bytes: int) -> tuple[str, ...]:
    """Return the names of what is not counted; raises TooLargeError when what is known is too much.

    ``limit_bytes`` is for all of the image on disk, the base included.
    """
    size = plan.known_size_bytes
    if size <= limit_bytes:
        return plan.unknown
    parts = ", ".join(str(part) for part in _parts(plan)[:_SHOWN_PARTS])
    least = "at least " if plan.unknown else ""
    raise TooLargeError(
        f"the image of '{plan.entry.tag}' for {plan.platform.name} would take "
        f"{least}{format_size(size)}, and {format_size(limit_bytes)} are allowed\n"
        f"  its largest parts: {parts}",
        hint=_advice(plan, size - limit_bytes),
        size_bytes=size,
        limit_bytes=limit_bytes,
    )


def check_size(name: str, size_bytes: int, limit_bytes: int) -> None:
    """Raise TooLargeError when an image that was made takes too much."""
    if size_bytes > limit_bytes:
        raise TooLargeError(
            f"the image '{name}' takes {format_size(size_bytes)}, and {format_size(limit_bytes)} "
            "are allowed",
            hint="it was made: take it away, or allow more; 'modelpack image inspect' shows what "
            "takes how much",
            size_bytes=size_bytes,
            limit_bytes=limit_bytes,
        )


def _parts(plan: ImagePlan) -> list[_Part]:
    """Return what an image is made of, the largest first: packages one by one."""
    parts = []
    for layer in plan.layers:
        if layer.packages:
            parts += [_Part(one.name, one.size_bytes or 0) for one in layer.packages]
        elif layer.size_bytes:
            parts.append(_Part(layer.what, layer.size_bytes))
    return sorted(parts, key=lambda part: (-part.size_bytes, part.what))


def _advice(plan: ImagePlan, needed: int) -> str:
    """Return what to do so that the image gets smaller by ``needed`` bytes."""
    packages = _packages(plan)
    cuda = [one for one in packages if is_cuda_package(one.name)]
    cuda_size = sum(one.size_bytes or 0 for one in cuda)
    if cuda and is_cuda_base(plan.base.image):
        return (
            f"CUDA is there twice, in the base and as wheels ({_sized(cuda_size)}): leave out "
            "--cuda and --base, or lock packages without the wheels"
        )
    if cuda:
        backend = "; for Torch, 'modelpack build --torch-backend cpu'"
        return (
            f"CUDA takes {_sized(cuda_size)} of it: a service that needs no GPU does without"
            f"{backend if any(one.name == 'torch' for one in packages) else ''}"
        )
    if needed >= plan.known_size_bytes - (plan.base.size_bytes or 0):
        return "the base alone takes that much: name a smaller one with --base, or allow more"
    largest = _parts(plan)[0]
    if largest.what in {layer.what for layer in plan.layers if layer.kind is LayerKind.MODEL}:
        return f"{largest.what} is the largest part: save a smaller one, or allow more"
    enough = _enough(packages, needed)
    if enough:
        names = listed(tuple(enough))
        return f"it would be small enough without {names}: see whether the service needs that"
    return "allow more: what the service could do without is not enough"


def _packages(plan: ImagePlan) -> list[SizedPackage]:
    return [one for layer in plan.layers for one in layer.packages]


def _enough(packages: Sequence[SizedPackage], needed: int) -> list[str]:
    """Return the fewest packages that take ``needed`` bytes; none when all of them take less."""
    own = {re.split(r"[^A-Za-z0-9_.-]", line)[0].lower() for line in RUNTIME_REQUIREMENTS}
    chosen = []
    for one in sorted(packages, key=lambda one: -(one.size_bytes or 0)):
        if one.name in own or not one.size_bytes:
            continue
        chosen.append(str(_Part(one.name, one.size_bytes)))
        needed -= one.size_bytes
        if needed <= 0:
            return chosen
    return []


def _sized(size_bytes: int) -> str:
    return format_size(size_bytes) if size_bytes else "a size that is not known here"
