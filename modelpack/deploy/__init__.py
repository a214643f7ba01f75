"""Plans and applies deployments of bundles at targets.

    DeploymentSpec + Live ──► Plan ──► apply ──► healthy? ──► settled, or back to the former one

What a target plugin needs is here; ``rollout`` is what callers use, ``catalog`` finds the targets.
"""

from modelpack.config.deploying import GROUPS
from modelpack.config.settings import DeploySettings
from modelpack.deploy.bundles import apis_of
from modelpack.deploy.capabilities import Capabilities
from modelpack.deploy.entry import Entry, chosen, marked
from modelpack.deploy.journal import Journal
from modelpack.deploy.modes import Mode, Modes
from modelpack.deploy.plan import Action, Change, Cost, Plan, change_to, difference
from modelpack.deploy.plugin import Target, refuse_unknown
from modelpack.deploy.probe import Answer, Clock
from modelpack.deploy.records import alone
from modelpack.deploy.rendered import Rendered
from modelpack.deploy.spec import DeploymentSpec, Fact
from modelpack.deploy.standing import (
    Past,
    Sight,
    StandingTarget,
    await_running,
    refuse_others,
)
from modelpack.deploy.state import Live, Replicas, Revision, State, Status
from modelpack.deploy.telling import is_reachable, moment, one_line
from modelpack.progress import SILENT, Progress
from modelpack.tag import check_name

__all__ = [
    "GROUPS",
    "SILENT",
    "Action",
    "Answer",
    "Capabilities",
    "Change",
    "Clock",
    "Cost",
    "DeploySettings",
    "DeploymentSpec",
    "Entry",
    "Fact",
    "Journal",
    "Live",
    "Mode",
    "Modes",
    "Past",
    "Plan",
    "Progress",
    "Rendered",
    "Replicas",
    "Revision",
    "Sight",
    "StandingTarget",
    "State",
    "Status",
    "Target",
    "alone",
    "apis_of",
    "await_running",
    "change_to",
    "check_name",
    "chosen",
    "difference",
    "is_reachable",
    "marked",
    "moment",
    "one_line",
    "refuse_others",
    "refuse_unknown",
]
