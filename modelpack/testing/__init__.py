"""What every deploy target must keep, as checks that a plugin's own tests can run.

    TargetCase(target, spec, changed, broken) ──target_contract──► passes, or TargetContractError

With pytest, one test for each claim:

    @pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
    def test_target(claim, case):
        claim(case)

Each claim starts from nothing and leaves nothing.  The target is driven by ``rollout``, as users
drive it, so a service that answers must be behind its URL.  Nothing here needs pytest.

``PLUGIN_CLAIMS`` are about the project of a plugin; ``fault_at_every`` lets calls of a stand-in fail.
"""

from modelpack.testing.case import Claim, TargetCase, TargetContractError
from modelpack.testing.claims import (
    applies_only_once,
    creates_what_is_absent,
    destroys_without_a_trace,
    gives_the_lines_of_the_log,
    goes_back_as_a_plan,
    keeps_both_until_it_is_told,
    leaves_nothing_of_a_failed_first,
    lists_what_goes,
    plans_without_changing_anything,
    refuses_unknown_options,
    refuses_what_is_no_name,
    returns_to_the_former_revision,
    runs_what_was_applied,
    scales_as_a_plan,
    shows_what_an_update_changes,
)
from modelpack.testing.kills import (
    comes_back_after_a_kill,
    goes_on_after_a_kill,
    kill_this_process,
    killing,
    leaves_nothing_after_a_kill,
)
from modelpack.testing.plugins import PLUGIN_CLAIMS
from modelpack.testing.stand_ins import (
    Fault,
    Hours,
    comes_through_a_fault,
    fault_at_every,
    spec_of,
)
from modelpack.testing.words import (
    never_shows_a_secret,
    plans_without_asking,
    renders_the_same_bytes,
    says_what_it_heeds,
)

__all__ = [
    "CLAIMS",
    "KILLS",
    "PLUGIN_CLAIMS",
    "Claim",
    "Fault",
    "Hours",
    "TargetCase",
    "TargetContractError",
    "comes_through_a_fault",
    "fault_at_every",
    "kill_this_process",
    "killing",
    "spec_of",
    "target_contract",
]

KILLS: tuple[Claim, ...] = (
    goes_on_after_a_kill,
    comes_back_after_a_kill,
    leaves_nothing_after_a_kill,
)
"""Those that try a kill at every point of an apply: they take longest."""

CLAIMS: tuple[Claim, ...] = (
    says_what_it_heeds,
    plans_without_asking,
    renders_the_same_bytes,
    plans_without_changing_anything,
    creates_what_is_absent,
    runs_what_was_applied,
    applies_only_once,
    gives_the_lines_of_the_log,
    lists_what_goes,
    shows_what_an_update_changes,
    returns_to_the_former_revision,
    leaves_nothing_of_a_failed_first,
    keeps_both_until_it_is_told,
    goes_back_as_a_plan,
    scales_as_a_plan,
    never_shows_a_secret,
    destroys_without_a_trace,
    refuses_what_is_no_name,
    refuses_unknown_options,
    *KILLS,
)
"""All that a target must keep, from what costs least to what costs most to get right."""


def target_contract(case: TargetCase) -> None:
    """Check every claim; raises TargetContractError that names the first one that is not kept."""
    for claim in CLAIMS:
        try:
            claim(case)
        except TargetContractError as error:
            raise TargetContractError(f"{claim.__name__}: {error}") from error
