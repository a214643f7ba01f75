"""Where the image of a deployment is, and who brings it there.

    --option registry=HOST/PATH ──► HOST/PATH/BUNDLE:VERSION-DIGEST ──push──► …@sha256:…

Without a registry, nodes must find the image under the name that it has in the local engine: right
for clusters on one machine whose nodes share it, and said as a warning for all others.
"""

from __future__ import annotations

from collections.abc import Mapping

from modelpack.deploy import DeploymentSpec
from modelpack_kubernetes.options import read
from modelpack_kubernetes.wanted import image_of


def reference_of(spec: DeploymentSpec, options: Mapping[str, str]) -> str:
    """Return the reference of a bundle's image, without its digest."""
    return image_of(spec, read(options))


def is_pushed(options: Mapping[str, str]) -> bool:
    """Return whether images go to a registry."""
    return options.get("registry") is not None
