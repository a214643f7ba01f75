"""Which service of Azure a deployment gets when its spec does not say, and why.

    DeploymentSpec ──choose──► ("container-apps", "no machines to look after …")
    word ──MODES.load──► Mode

Pure: the same spec and options give the same answer everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modelpack.deploy import DeploymentSpec, Modes
from modelpack_azure.modes import Mode
from modelpack_azure.sizes import PROFILES

MODES: Modes[Mode] = Modes(
    {
        "container-apps": "modelpack_azure.apps:AppsMode",
        "ml": "modelpack_azure.ml:MlMode",
    }
)


def choose(
    spec: DeploymentSpec, options: Mapping[str, str], allowed: Sequence[str]
) -> tuple[str, str]:
    """Return the word of a mode, and why it is that one; raises UsageError.

    allowed  words of the modes that the target has; of one alone there is no choice
    """
    asked = MODES.asked(spec, allowed)
    if asked is not None:
        return asked
    settings = spec.settings
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
