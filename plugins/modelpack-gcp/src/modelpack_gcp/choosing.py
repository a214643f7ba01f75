"""Which service of Google a deployment gets when its spec does not say, and why.

    DeploymentSpec ──choose──► ("cloud-run", "no machines to look after …")
    word ──MODES.load──► Mode

Pure: the same spec gives the same answer everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from modelpack.deploy import DeploymentSpec, Modes
from modelpack_gcp.modes import Mode
from modelpack_gcp.sizes import RUN_ACCELERATORS, fits_cloud_run

MODES: Modes[Mode] = Modes(
    {
        "cloud-run": "modelpack_gcp.cloud_run:CloudRunMode",
        "vertex": "modelpack_gcp.vertex:VertexMode",
    }
)


def choose(spec: DeploymentSpec, allowed: Sequence[str]) -> tuple[str, str]:
    """Return the word of a mode, and why it is that one; raises UsageError.

    allowed  words of the modes that the target has; of one alone there is no choice
    """
    asked = MODES.asked(spec, allowed)
    if asked is not None:
        return asked
    settings = spec.settings
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
