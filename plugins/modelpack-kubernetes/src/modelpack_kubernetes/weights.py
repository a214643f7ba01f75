"""Where a pod's models come from.

    weights=image    in the image of the service, as ``containerize`` makes it: a layer a model, which
                     a node keeps when only code changes
    weights=volume   from another image, mounted as it is (an image volume)
    weights=copy     from another image, copied into the pod before the service starts
    weights=pull     from a bundle in a registry, fetched into the pod before the service starts
    storage=URI      from where KServe fetches it (mode kserve)

``weights_from`` names the other image, whose ``/bundle/models`` stands where that of the service
would; or with ``pull`` the repository, ``HOST/REPOSITORY``, where ``modelpack push`` has put
the bundle, by the digest of the very bundle that is deployed unless it names another one.  So models
that were trained anew go out under code that stays.

What fetches is the image of the service itself (``modelpack.server.fetch``), with the login that
``pull_secret`` holds; it verifies what it reads by that digest.

Facts: Kubernetes documentation, "Use an Image Volume With a Pod" (beta and off by default from 1.33
on, with sub-paths; on by default from 1.35 on), "Init Containers", "Pull an Image from a Private
Registry" (the key ``.dockerconfigjson``), "Determine the Reason for Pod Failure".
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

FETCH = "modelpack.server.fetch"
"""Module of every image of modelpack that fetches models."""

_PUT, _LOGIN = "/models", "/login"
_VOLUME, _LOGIN_VOLUME = "models", "login"
_FIRST, _BY_DEFAULT = (1, 33), (1, 35)
_PODS = ("deployment", "seldon")
_MODES = {"copy": _PODS, "pull": _PODS, "volume": ("deployment",)}

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
        if options.weights == "volume" and wanted.mode in _PODS:
            raise UsageError(
                f"option 'weights': the pods of the mode '{wanted.mode}' know no image volumes",
                hint="take weights=copy or weights=pull",
            )
        fetched = "; KServe fetches models with --option storage=URI"
        raise UsageError(
            f"option 'weights': the mode '{wanted.mode}' has models in its image",
            hint="leave it out" + (fetched if wanted.mode == "kserve" else ""),
        )
    if options.weights == "volume" and options.kubernetes < _FIRST:
        given = ".".join(map(str, options.kubernetes))
        raise UsageError(
            f"option 'weights': Kubernetes {given} mounts no folder of an image",
            hint="add --option kubernetes=1.33 if all clusters have it, or take weights=copy",
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
    volumes: list[Json] = [{"name": _VOLUME, "emptyDir": {}}]
    if options.weights == "volume":
        image = {"reference": options.weights_from, "pullPolicy": "IfNotPresent"}
        volumes = [{"name": _VOLUME, "image": image}]
        mount["subPath"] = MODELS.removeprefix("/")
    elif options.weights == "copy":
        first = _first(str(options.weights_from), copy_command(), confined)
        spec = spec | {"initContainers": [first]}
    else:
        first = _first(wanted.image, fetch_command(wanted), confined)
        if options.pull_secret is not None:
            login = {"name": _LOGIN_VOLUME, "mountPath": _LOGIN, "readOnly": True}
            first["volumeMounts"].append(login)
            volumes.append(_login(options.pull_secret))
        spec = spec | {"initContainers": [first]}
    service = spec["containers"][0]
    service = service | {"volumeMounts": [*service["volumeMounts"], mount]}
    return spec | {"containers": [service], "volumes": [*spec["volumes"], *volumes]}


def copy_command() -> list[str]:
    """Return what the container before the service runs where it copies."""
    return [PYTHON, "-I", "-S", "-c", _COPY]


def fetch_command(wanted: Wanted) -> list[str]:
    """Return what the container before the service runs where it fetches."""
    place = str(wanted.options.weights_from)
    if "@" not in place:
        place = f"{place}@{wanted.digest}"
    command = [PYTHON, "-I", "-m", FETCH, place, "--to", _PUT]
    login = wanted.options.pull_secret is not None
    return [*command, "--login", f"{_LOGIN}/config.json"] if login else command


def _first(image: str, command: list[str], confined: Json) -> Json:
    """Return a container that puts the models into the pod; safe to run again."""
    return {
        "name": _VOLUME,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": confined,
        # Its last words are told where somebody asks why the pod does not start.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": _VOLUME, "mountPath": _PUT}],
    }


def _login(secret: str) -> Json:
    """Return the volume with the login that nodes have too, under the name that Docker's file has."""
    item = {"key": ".dockerconfigjson", "path": "config.json"}
    return {
        "name": _LOGIN_VOLUME,
        "secret": {"secretName": secret, "items": [item], "defaultMode": 0o444},
    }
