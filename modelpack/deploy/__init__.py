"""Plans and applies deployments of bundles at targets.

    DeploymentSpec + Live ──► Plan ──► apply ──► healthy? ──► settled, or back to the former one

What a target plugin needs is here; ``rollout`` is what callers use, ``catalog`` finds the targets.
"""

from modelpack.config.deploying import GROUPS
from modelpack.config.settings import DeploySettings
from modelpack.deploy.bundles import apis_of
from modelpack.deploy.capabilities import Capabilities
from modelpack.deploy.journal import Journal
from modelpack.deploy.plan import Action, Change, Cost, Plan, change_to, difference
from modelpack.deploy.plugin import Target, refuse_unknown
from modelpack.deploy.probe import Answer
from modelpack.deploy.rendered import Rendered
from modelpack.deploy.spec import DeploymentSpec, Fact
from modelpack.deploy.state import Live, Replicas, Revision, State, Status
from modelpack.progress import SILENT, Progress
from modelpack.tag import check_name

__all__ = [
    "GROUPS",
    "SILENT",
    "Action",
    "Answer",
    "Capabilities",
    "Change",
    "Cost",
    "DeploySettings",
    "DeploymentSpec",
    "Fact",
    "Journal",
    "Live",
    "Plan",
    "Progress",
    "Rendered",
    "Replicas",
    "Revision",
    "State",
    "Status",
    "Target",
    "apis_of",
    "change_to",
    "check_name",
    "difference",
    "refuse_unknown",
]
