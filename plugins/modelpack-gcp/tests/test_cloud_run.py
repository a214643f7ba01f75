"""Cloud Run over a small Google of ours on the loopback: the whole contract, and faults on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from modelpack_gcp.target import CloudRunTarget

from modelpack.deploy import SILENT, Journal, State, rollout
from modelpack.errors import ConflictError, DeployError, RefusedError, UsageError
from modelpack.testing import CLAIMS, KILLS, Claim

from .google_parts import Kind, deploy, faults
from .google_run import FakeRun

ME = {"inside": "yes", "invokers": "user:me@example.org"}
CANARY = {"public": True, "canary_percent": 20, "bake_s": 30.0}
KINDS = {
    "internal": Kind(CloudRunTarget),
    "public, canary": Kind(CloudRunTarget, {}, CANARY),
    "inside, invokers": Kind(CloudRunTarget, ME, {"in_flight": 8}),
}


@pytest.fixture
def google() -> Iterator[FakeRun]:
    fake = FakeRun()
    yield fake
    fake.close()


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=() if "canary" in kind else pytest.mark.long) for kind in KINDS],
)
def test_the_contract_of_targets(kind: str, claim: Claim, google: FakeRun) -> None:
    claim(KINDS[kind].case(google, most_kills=3 if claim in KILLS else None))


def test_calls_move_from_revision_to_revision(google: FakeRun) -> None:
    kind = KINDS["public, canary"]
    target = kind.at(google)
    deploy(target, kind.spec("a"))
    deploy(target, kind.spec("b"))

    [(first, _)] = google.moves[0].items()
    [(second, _)] = google.moves[-1].items()
    shares = [move for n, move in enumerate(google.moves) if move != google.moves[n - 1] or n == 0]
    assert shares == [{first: 100}, {second: 20, first: 80}, {second: 100}]


def test_a_canary_whose_requests_fail_is_taken_back(google: FakeRun) -> None:
    kind = KINDS["public, canary"]
    target = kind.at(google)
    deploy(target, kind.spec("a"))
    before, google.failing_requests = google.moves[-1], 6

    with pytest.raises(DeployError, match="does not hold: 6 of its last 100 requests failed"):
        deploy(target, kind.spec("b"))

    assert google.moves[-1] == before
    assert target.status("digits").bundle == "digits:a"
    assert target.status("digits").state is State.RUNNING
    google.failing_requests = 5
    assert deploy(target, kind.spec("b")).bundle == "digits:b"


def test_another_number_of_replicas_starts_nothing_anew(google: FakeRun) -> None:
    kind = KINDS["internal"]
    target = kind.at(google)
    deploy(target, kind.spec("a"))
    before = list(google.revisions)

    rollout.apply_plan(target, rollout.plan_scale(target, "digits", fewest=2, most=9))

    assert list(google.revisions) == before
    [service] = google.services.values()
    assert service["scaling"] == {"minInstanceCount": 2, "maxInstanceCount": 9}


def test_who_cannot_ask_it_is_told_where_it_answers(google: FakeRun) -> None:
    hidden = deploy(KINDS["internal"].at(google), KINDS["internal"].spec())
    [service] = google.services.values()

    assert hidden.url is None
    assert hidden.detail == f"it answers inside its network at {service['uri']}"

    KINDS["internal"].at(google).destroy("digits")
    asked = deploy(KINDS["public, canary"].at(google), KINDS["public, canary"].spec())
    [service] = google.services.values()
    assert (asked.url, asked.detail) == (service["uri"], None)


def test_a_rollback_gives_the_calls_back_to_the_revision_that_is_there(google: FakeRun) -> None:
    kind = KINDS["internal"]
    target = kind.at(google)
    deploy(target, kind.spec("a"))
    deploy(target, kind.spec("b"))
    before = sorted(google.revisions)

    status = rollout.apply_plan(target, rollout.plan_rollback(target, "digits"))

    assert status.bundle == "digits:a"
    assert sorted(google.revisions) == before
    assert google.moves[-1] == google.moves[0]


def test_what_failed_once_is_started_anew(google: FakeRun) -> None:
    kind = KINDS["internal"]
    target = kind.at(google)
    deploy(target, kind.spec("a"))
    for _ in range(2):
        with pytest.raises(DeployError, match="it crashes") as caught:
            deploy(target, kind.spec("b", FAKE_MODE="crash"))
        assert caught.value.log_lines[-1] == "asked"

    assert target.status("digits").bundle == "digits:a"
    assert deploy(target, kind.spec("c")).bundle == "digits:c"
    assert len(google.revisions) == 2


def test_who_deploys_at_the_same_time_is_refused(google: FakeRun) -> None:
    kind = KINDS["internal"]
    target = kind.at(google)
    deploy(target, kind.spec("a"))
    plan = rollout.plan_deployment(target, kind.spec("b"))
    patch = "run.projects.locations.services.patch"

    def meanwhile(call: str) -> None:
        if call == patch:
            google.services[next(iter(google.services))]["etag"] = "of somebody else"

    google.fault = meanwhile
    with pytest.raises(ConflictError, match="somebody else has changed it meanwhile"):
        target.apply(plan, Journal(), SILENT)


def test_a_service_of_somebody_else_is_not_touched(google: FakeRun) -> None:
    kind = KINDS["internal"]
    target = kind.at(google)
    deploy(target, kind.spec("a"))
    [service] = google.services.values()
    service["labels"] = {}

    for act in (target.status, target.destroy, target.revert):
        with pytest.raises(ConflictError, match="was not made by modelpack"):
            act("digits")


def test_what_a_former_attempt_at_a_canary_left_is_put_right(google: FakeRun) -> None:
    """A share that a killed deploy has given away goes back to what was healthy."""
    kind = KINDS["public, canary"]
    target = kind.at(google)
    deploy(target, kind.spec("a"))
    first = google.moves[-1]
    plan = rollout.plan_deployment(target, kind.spec("b"))
    target.apply(plan, Journal(), SILENT)
    standing = target.require("digits").standing
    assert standing.kept.trial is not None
    unit = standing.kept.trial.unit
    google.services[standing.body["name"]]["traffic"] = [
        {"revision": unit, "percent": 20},
        {"revision": next(iter(first)), "percent": 80},
    ]

    deploy(target, kind.spec("a"))

    assert google.moves[-1] == first


def test_a_missing_permission_is_said_with_what_to_do(google: FakeRun) -> None:
    kind = KINDS["internal"]
    google.fault = lambda _: "denied"
    google.denied_because = [
        {"reason": "SERVICE_DISABLED", "metadata": {"service": "run.googleapis.com"}}
    ]

    with pytest.raises(RefusedError) as caught:
        rollout.plan_deployment(kind.at(google), kind.spec())

    assert caught.value.hint == "gcloud services enable run.googleapis.com"


@pytest.mark.parametrize("option", ["inside", "zonal_redundancy"])
def test_an_option_that_is_neither_yes_nor_no_is_refused_by_the_plan(
    google: FakeRun, option: str
) -> None:
    kind = KINDS["internal"]
    target = replace(kind.at(google), given={option: "maybe"})

    with pytest.raises(UsageError, match=f"option '{option}': must be yes or no, got 'maybe'"):
        rollout.plan_deployment(target, kind.spec(), offline=True)


def test_another_option_alone_is_a_deploy_with_a_way_back(google: FakeRun) -> None:
    kind = KINDS["internal"]
    target = kind.at(google)
    deploy(target, kind.spec())
    other = replace(target, given={"timeout": "60"})

    plan = rollout.plan_deployment(other, kind.spec())
    other.apply(plan, Journal(), SILENT)
    before_it_is_settled = other.read_live(kind.spec()).is_settled
    other.revert("digits")

    assert "option.timeout" in plan.describe()
    assert not before_it_is_settled
    assert rollout.plan_deployment(target, kind.spec()).is_empty


@pytest.mark.parametrize("every", [13, pytest.param(1, marks=pytest.mark.long)])
def test_a_fault_at_any_call_leaves_what_the_next_deploy_brings_to_its_end(
    google: FakeRun, every: int
) -> None:
    hit = faults(google, KINDS["public, canary"], every)

    if every == 1:
        api = "run.projects.locations.services"
        assert {f"{api}.patch", f"{api}.revisions.get", "logging.entries.list"} <= hit


@pytest.mark.parametrize("end", ["promoted", "undone"])
def test_a_canary_stays_until_the_next_deploy_says_how_it_ends(google: FakeRun, end: str) -> None:
    """What is asked by the probe is the canary itself, and not who has most of the calls."""
    canary, all_calls = Kind(CloudRunTarget, {}, {"public": True, "canary_percent": 20}), KINDS["public, canary"]  # fmt: skip
    target = canary.at(google)
    deploy(target, all_calls.spec("a"))
    first = google.moves[-1]
    shown = deploy(target, canary.spec("b"))
    [second] = set(google.moves[-1]) - set(first)

    assert google.moves[-1] == {second: 20, **dict.fromkeys(first, 80)}
    assert shown.detail == "it gets 20 in 100 calls, 'digits:a' gets the others"
    if end == "promoted":
        plain = Kind(CloudRunTarget, {}, {"public": True})
        assert deploy(target, plain.spec("b")).detail is None
        assert google.moves[-1] == {second: 100}
    else:
        rollout.apply_plan(target, rollout.plan_rollback(target, "digits"))
        assert google.moves[-1] == first
        assert target.status("digits").bundle == "digits:a"
