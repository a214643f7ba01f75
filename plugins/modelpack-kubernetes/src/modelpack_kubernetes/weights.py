"""Where a pod's models come from: in its image."""

from __future__ import annotations

from modelpack_kubernetes.wanted import Wanted
from modelpack_kubernetes.words import Json


def mounted(wanted: Wanted, spec: Json) -> Json:  # noqa: ARG001
    """Return the pod's part with what brings the models."""
    return spec
