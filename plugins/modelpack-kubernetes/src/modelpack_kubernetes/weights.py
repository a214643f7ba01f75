"""Where a pod's models come from.

    weights=image    in the image of the service, as ``containerize`` makes it: a layer a model, which
                     a node keeps when only code changes
    weights=volume   from another image, mounted as it is (an image volume)
    weights=init     from another image, copied into the pod before the service starts
    storage=URI      from where KServe fetches it (mode kserve)

The other image, ``weights_from``, is one of modelpack too: its ``/bundle/models`` stands where that
of the service would.  So models that were trained anew go out under code that stays.

Facts: Kubernetes documentation, "Use an Image Volume With a Pod" (beta and off by default from 1.33
on, with sub-paths; on by default from 1.35 on), "Init Containers".
"""

from __future__ import annotations

from typing import Any

from modelpack.errors import UsageError
from modelpack_kubernetes.wanted import Wanted
from modelpack_kubernetes.words import Json

MODELS = "/bundle/models"
"""Folder of the models in every image of modelpack."""

PYTHON = "/bundle/venv/bin/python"
"""The interpreter of every image of modelpack."""

_COPIED = "/models"
_VOLUME = "models"
_FIRST, _BY_DEFAULT = (1, 33), (1, 35)
_MODES = {"init": ("deployment", "seldon"), "volume": ("deployment",)}

# Folders and files alone: the user that copies owns neither and could not give them modes.
_COPY = """\
import os, shutil
for folder, _, files in os.walk("/bundle/models"):
    to = "/models" + folder.removeprefix("/bundle/models")
    os.makedirs(to, exist_ok=True)
    for name in files:
        shutil.copyfile(os.path.join(folder, name), os.path.join(to, name))
"""


def check(wanted: Wanted) -> None:
    """Raise UsageError for a way that the mode or the cluster's version does not have."""
    options = wanted.options
    if options.weights != "image" and wanted.mode not in _MODES.get(options.weights, ()):
        fetched = "; KServe fetches models with --option storage=URI"
        raise UsageError(
            f"option 'weights': the mode '{wanted.mode}' has models in its image",
            hint="leave it out" + (fetched if wanted.mode == "kserve" else ""),
        )
    if options.weights == "volume" and options.kubernetes < _FIRST:
        given = ".".join(map(str, options.kubernetes))
        raise UsageError(
            f"option 'weights': Kubernetes {given} mounts no folder of an image",
            hint="add --option kubernetes=1.33 if all clusters have it, or take weights=init",
        )


def notes(wanted: Wanted) -> list[str]:
    """Return what a cluster must have for it."""
    if wanted.options.weights == "volume" and wanted.options.kubernetes < _BY_DEFAULT:
        return ["option 'weights': before 1.35 image volumes need the feature gate 'ImageVolume'"]
    return []


def mounted(wanted: Wanted, spec: Json, *, confined: Json) -> Json:
    """Return the pod's part with what brings the models; raises UsageError.

    confined  security context of a container that does nothing but run
    """
    check(wanted)
    options = wanted.options
    if options.weights == "image":
        return spec
    mount: dict[str, Any] = {"name": _VOLUME, "mountPath": MODELS, "readOnly": True}
    if options.weights == "volume":
        volume: Json = {
            "name": _VOLUME,
            "image": {"reference": options.weights_from, "pullPolicy": "IfNotPresent"},
        }
        mount["subPath"] = MODELS.removeprefix("/")
    else:
        volume = {"name": _VOLUME, "emptyDir": {}}
        spec = spec | {"initContainers": [_copying(wanted, confined)]}
    service = spec["containers"][0]
    service = service | {"volumeMounts": [*service["volumeMounts"], mount]}
    return spec | {"containers": [service], "volumes": [*spec["volumes"], volume]}


def copy_command() -> list[str]:
    """Return what the container before the service runs."""
    return [PYTHON, "-I", "-S", "-c", _COPY]


def _copying(wanted: Wanted, confined: Json) -> Json:
    """Return the container that copies the models; safe to run again."""
    return {
        "name": _VOLUME,
        "image": wanted.options.weights_from,
        "imagePullPolicy": "IfNotPresent",
        "command": copy_command(),
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": confined,
        "volumeMounts": [{"name": _VOLUME, "mountPath": _COPIED}],
    }
