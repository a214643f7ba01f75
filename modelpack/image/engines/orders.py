"""What is asked of a builder, and what it gives back.

    Order ──► Builder.build ──► ImageResult ──► Builder.rename, Builder.remove, Builder.read

There are four builders: Docker's classic one (``classic``), Docker's BuildKit (``buildkit``), podman
and buildah (``podman``).  All of them make the same image of the same plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from modelpack.errors import EngineError
from modelpack.image.plan import ImagePlan
from modelpack.progress import Progress
from modelpack.store import Store

if TYPE_CHECKING:
    from modelpack.image.reading import ReadImage


@dataclass(frozen=True, slots=True)
class ImageResult:
    """An image in the engine."""

    reference: str
    id: str
    """``sha256:HEX``, by which the engine knows it."""
    size_bytes: int
    """On disk, the base included."""


class ImageBuildError(EngineError):
    """A step of the build failed."""

    def __init__(self, message: str, *, hint: str, log: Path, log_lines: Sequence[str]) -> None:
        super().__init__(message, hint=hint)
        self.log = log
        """Everything that the builder said."""
        self.log_lines = tuple(log_lines)
        """The last lines of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An image to be built."""

    plan: ImagePlan
    store: Store
    name: str
    """Under which the engine keeps it."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Added to those of the plan."""
    build_args: Mapping[str, str] = field(default_factory=dict)
    """Values of the Dockerfile's ``ARG``; whoever has the image can read them."""
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Contents by the id of their mount; none of it gets into the image."""
    use_cache: bool = True
    network: str | None = None
    """What the commands of the build see: ``host`` or ``none``; None leaves it to the builder."""


class Builder(Protocol):
    """Builds images and keeps them."""

    @property
    def name(self) -> str:
        """As ``--engine`` names it."""

    @property
    def takes_secrets(self) -> bool:
        """True when a secret can be lent to a command without getting into a layer."""

    def build(self, order: Order, progress: Progress) -> ImageResult:
        """Build the image; raises EngineError, or what the store raises for a damaged bundle."""

    def rename(self, image: ImageResult, name: str) -> ImageResult:
        """Give an image another name instead of its own."""

    def remove(self, image: ImageResult) -> None:
        """Remove an image under its name."""

    def read(self, image: ImageResult) -> AbstractContextManager[ReadImage]:
        """Open an image to look into it."""
