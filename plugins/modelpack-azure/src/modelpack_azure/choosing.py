"""Which service of Azure a deployment gets when its spec does not say, and why.

    DeploymentSpec ──choose──► ("container-apps", "no machines to look after …")
    word ──mode_of──► Mode

Pure: the same spec and options give the same answer everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module

from modelpack.deploy import DeploymentSpec
from modelpack.errors import UsageError, did_you_mean
from modelpack_azure.modes import Mode
from modelpack_azure.sizes import PROFILES

MODES: Mapping[str, str] = {
    "container-apps": "modelpack_azure.apps:AppsMode",
    "ml": "modelpack_azure.ml:MlMode",
}


def mode_of(word: str) -> Mode:
    """Return the mode of a word of ``MODES``; imports it."""
    module, _, name = MODES[word].partition(":")
    found = getattr(import_module(module), name)()
    if not isinstance(found, Mode):
        raise TypeError(MODES[word])
    return found


def choose(
    spec: DeploymentSpec, options: Mapping[str, str], allowed: Sequence[str]
) -> tuple[str, str]:
    """Return the word of a mode, and why it is that one; raises UsageError.

    allowed  words of the modes that the target has; of one alone there is no choice
    """
    settings = spec.settings
    if settings.mode is not None:
        if settings.mode not in allowed:
            near = did_you_mean(settings.mode, allowed)
            raise UsageError(
                f"deploy.mode: '{settings.mode}' is none of this target",
                hint=f"did you mean '{near}'?" if near else f"it has {', '.join(allowed)}",
            )
        return settings.mode, "asked for"
    if len(allowed) == 1:
        return allowed[0], "asked for by the target"
    if (settings.instance or "").startswith("Standard_"):
        return "ml", f"'{settings.instance}' is a machine of Azure Machine Learning"
    if settings.accelerator is not None and (
        settings.accelerator_kind not in PROFILES or settings.accelerator_count > 1
    ):
        return "ml", f"Container Apps has no '{settings.accelerator}', Azure Machine Learning has"
    if "workspace" in options and "environment" not in options:
        return "ml", "a workspace of Azure Machine Learning is named, and no environment"
    return "container-apps", (
        "no machines to look after, as many replicas as there are requests for, and none while "
        "nobody asks where scaling.min is 0"
    )
