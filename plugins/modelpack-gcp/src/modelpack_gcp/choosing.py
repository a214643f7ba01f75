"""Which service of Google a deployment gets when its spec does not say, and why.

    DeploymentSpec ──choose──► ("cloud-run", "no machines to look after …")
    word ──mode_of──► Mode

Pure: the same spec gives the same answer everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module

from modelpack.deploy import DeploymentSpec
from modelpack.errors import UsageError, did_you_mean
from modelpack_gcp.modes import Mode
from modelpack_gcp.sizes import RUN_ACCELERATORS, fits_cloud_run

MODES: Mapping[str, str] = {
    "cloud-run": "modelpack_gcp.cloud_run:CloudRunMode",
    "vertex": "modelpack_gcp.vertex:VertexMode",
}


def mode_of(word: str) -> Mode:
    """Return the mode of a word of ``MODES``; imports it."""
    module, _, name = MODES[word].partition(":")
    found = getattr(import_module(module), name)()
    if not isinstance(found, Mode):
        raise TypeError(MODES[word])
    return found


def choose(spec: DeploymentSpec, allowed: Sequence[str]) -> tuple[str, str]:
    """Return the word of a mode, and why it is that one; raises UsageError.

    allowed  words of the modes that the target has; of one alone there is no choice
    """
    settings = spec.settings
    if settings.mode is not None:
        if settings.mode not in allowed:
            near = did_you_mean(settings.mode, allowed)
            known = ", ".join(allowed)
            raise UsageError(
                f"deploy.mode: '{settings.mode}' is none of this target",
                hint=f"did you mean '{near}'?" if near else f"it has {known}",
            )
        return settings.mode, "asked for"
    if len(allowed) == 1:
        return allowed[0], "asked for by the target"
    if settings.instance is not None and settings.instance != "auto":
        return "vertex", f"'{settings.instance}' is asked for, and Cloud Run takes no machine type"
    if settings.accelerator is not None and (
        settings.accelerator_kind not in RUN_ACCELERATORS or settings.accelerator_count > 1
    ):
        return "vertex", f"Cloud Run has no '{settings.accelerator}', Vertex AI has"
    if not fits_cloud_run(settings):
        return "vertex", "more processors or memory than an instance of Cloud Run has"
    if settings.accelerator is not None:
        return "cloud-run", "it has that accelerator, and none is paid for while nobody asks"
    return "cloud-run", "no machines to look after, and as many replicas as there are requests for"
