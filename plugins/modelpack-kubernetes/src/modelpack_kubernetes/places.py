"""Where the image of a deployment is, and who brings it there.

    --option registry=HOST/PATH ──► HOST/PATH/BUNDLE:VERSION-DIGEST ──push──► …@sha256:…

Without a registry, nodes must find the image under the name that it has in the local engine: right
for clusters on one machine whose nodes share it, and said as a warning for all others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from modelpack.deploy import DeploymentSpec, Progress
from modelpack.deploy.pushing import Pushed, push_image
from modelpack_kubernetes.options import read
from modelpack_kubernetes.wanted import image_of


class Push(Protocol):
    """Builds the image of a spec's bundle and pushes it; ``push_image``, but for tests."""

    def __call__(
        self,
        spec: DeploymentSpec,
        reference: str,
        *,
        find_login: Callable[[str], Any],
        base: str | None,
        progress: Progress,
    ) -> Pushed:
        """Return what was pushed."""


def push_bundle(
    spec: DeploymentSpec,
    reference: str,
    *,
    find_login: Callable[[str], Any],
    base: str | None,
    progress: Progress,
) -> Pushed:
    """Push by ``modelpack.deploy.pushing``."""
    return push_image(spec, reference, find_login=find_login, base=base, progress=progress)


def reference_of(spec: DeploymentSpec, options: Mapping[str, str]) -> str:
    """Return the reference of a bundle's image, without its digest."""
    return image_of(spec, read(options))


def is_pushed(options: Mapping[str, str]) -> bool:
    """Return whether images go to a registry."""
    return options.get("registry") is not None
