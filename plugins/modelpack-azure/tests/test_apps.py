"""Container Apps over a small Azure on loopback: the whole contract, shares of the calls, faults."""

from __future__ import annotations

import pytest
from modelpack_azure.target import AzureTarget

from modelpack.deploy import DeploymentSpec, State, marked, rollout
from modelpack.errors import ConflictError, DeployError
from modelpack.testing import CLAIMS, Claim, TargetCase, fault_at_every, spec_of

from .azure_cases import APPS, deploy, target_of
from .fake_azure import GROUP, REGISTRY, FakeAzure

IDENTITY = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/theirs"


# Thousands of calls: hours are no sign that it hangs.
EVERY_CALL = (pytest.mark.long, pytest.mark.timeout(4 * 3600))


def revision_name(wanted: DeploymentSpec, number: int = 1) -> str:
    """Return what Azure calls the revision of a spec."""
    return f"modelpack-digits--r{marked(wanted.revision, APPS)}-{number}"


def case_of(azure: FakeAzure, *, changed: DeploymentSpec) -> TargetCase:
    return TargetCase(
        target=target_of(azure),
        spec=spec_of("a"),
        changed=changed,
        broken=spec_of("c", FAKE_MODE="crash"),
        resources=azure.resources,
        most_kills=3,
    )


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_the_contract_of_targets(claim: Claim, azure: FakeAzure) -> None:
    claim(case_of(azure, changed=spec_of("b", cpu=2.0)))


def test_calls_stay_where_they_are_until_the_new_revision_is_healthy(azure: FakeAzure) -> None:
    target = target_of(azure)
    deploy(target, spec_of("a"))
    deploy(target, spec_of("b"))

    first, second = (revision_name(spec_of(one)) for one in "ab")
    assert azure.apps.moves == [{first: 100}, {second: 100}]
    with_calls = [
        body for method, path, body in azure.sent if method == "PUT" and "containerApps" in path
    ]
    shares = with_calls[-1]["properties"]["configuration"]["ingress"]["traffic"]
    assert [(one["revisionName"], one["weight"]) for one in shares] == [(first, 100)]


def test_a_canary_gets_its_share_first_and_then_everything(azure: FakeAzure) -> None:
    target = target_of(azure)
    deploy(target, spec_of("a"))
    deploy(target, spec_of("b", canary_percent=20, bake_s=60.0))

    first, second = revision_name(spec_of("a")), revision_name(spec_of("b", canary_percent=20))
    assert azure.apps.moves == [{first: 100}, {first: 80, second: 20}, {second: 100}]
    assert [one for one in azure.resources() if one.startswith("revision")] == [
        f"revision {second}"
    ]


def test_a_canary_that_does_not_hold_loses_its_share(azure: FakeAzure) -> None:
    target, canary = target_of(azure), spec_of("b", canary_percent=20, bake_s=60.0)
    deploy(target, spec_of("a"))
    azure.apps.flaws[revision_name(canary)] = "its replicas fail"

    with pytest.raises(DeployError, match="does not hold: its replicas fail") as caught:
        deploy(target, canary)

    assert "(digits:a) has all calls again" in str(caught.value.hint)
    assert azure.apps.moves[-1] == {revision_name(spec_of("a")): 100}
    assert target.status("digits").bundle == "digits:a"
    assert rollout.plan_deployment(target, spec_of("a")).is_empty
    azure.apps.flaws.clear()
    assert deploy(target, canary).bundle == "digits:b"


def test_a_canary_without_a_time_stays_until_the_next_deploy(azure: FakeAzure) -> None:
    target, canary = target_of(azure), spec_of("b", canary_percent=20)
    deploy(target, spec_of("a"))
    deploy(target, canary)
    first, second = revision_name(spec_of("a")), revision_name(canary)
    shares = {first: 80, second: 20}
    assert azure.apps.moves[-1] == shares
    assert rollout.plan_deployment(target, canary).is_empty
    target.settle("digits")
    assert azure.apps.moves[-1] == shares, "settling again has moved the calls"

    with pytest.raises(DeployError):
        deploy(target, spec_of("c", FAKE_MODE="crash"))
    assert azure.apps.moves[-1] == shares, "a failed deploy has moved the calls"
    assert target.status("digits").bundle == "digits:b"

    deploy(target, spec_of("d"))
    assert azure.apps.moves[-1] == {revision_name(spec_of("d")): 100}


def test_a_rollback_is_a_new_revision_of_what_was(azure: FakeAzure) -> None:
    """Azure does nothing, and says that it has, when a suffix comes again."""
    target = target_of(azure)
    deploy(target, spec_of("a"))
    deploy(target, spec_of("b"))
    azure.calls.clear()

    status = rollout.apply_plan(target, rollout.plan_rollback(target, "digits"))

    assert status.bundle == "digits:a"
    assert azure.apps.moves[-1] == {revision_name(spec_of("a"), 2): 100}
    assert "push" not in azure.calls
    assert [one.bundle for one in target.history("digits")] == ["digits:a", "digits:b", "digits:a"]


def test_scaling_touches_the_number_alone(azure: FakeAzure) -> None:
    target = target_of(azure)
    deploy(target, spec_of())
    plan = rollout.plan_scale(target, "digits", fewest=0, most=5)
    [change] = [one for one in plan.changes if one.action != "none"]
    assert change.after == {"min_replicas": 0, "max_replicas": 5}
    azure.calls.clear()
    rollout.apply_plan(target, plan)
    assert "push" not in azure.calls


def test_a_role_that_is_not_known_everywhere_yet_is_waited_for(azure: FakeAzure) -> None:
    azure.role_lag = 2

    assert deploy(target_of(azure), spec_of()).state is State.RUNNING


def test_a_given_identity_is_used_and_left_alone(azure: FakeAzure) -> None:
    azure.things[IDENTITY.lower()] = {"location": "x", "properties": {"principalId": "theirs"}}
    role = f"{REGISTRY}/providers/Microsoft.Authorization/roleAssignments/1".lower()
    azure.things[role] = {"properties": {"principalId": "theirs"}}
    before = sorted(azure.resources())
    target = target_of(azure, identity="theirs")

    plan = rollout.plan_deployment(target, spec_of())
    status = rollout.apply_plan(target, plan)

    assert status.state is State.RUNNING
    assert not any("identity" in one.resource or "role" in one.resource for one in plan.changes)
    target.destroy("digits")
    assert sorted(azure.resources()) == before


def test_what_somebody_else_has_changed_is_shown_and_put_back(azure: FakeAzure) -> None:
    target = target_of(azure)
    deploy(target, spec_of("a", max_replicas=4))
    [revision] = azure.apps.revisions["modelpack-digits"].values()
    revision["template"]["scale"]["maxReplicas"] = 9

    plan = rollout.plan_deployment(target, spec_of("a", max_replicas=4))

    assert "changed since the last apply" in plan.describe()
    assert plan.drift[0].after == {"max_replicas": 9}
    rollout.apply_plan(target, plan)
    assert rollout.plan_deployment(target, spec_of("a", max_replicas=4)).is_empty


def test_what_somebody_else_made_is_not_touched(azure: FakeAzure) -> None:
    deploy(target_of(azure, AzureTarget), spec_of())
    with pytest.raises(ConflictError, match="stands at target 'azure'"):
        target_of(azure).status("digits")
    azure.apps.apps["modelpack-digits"]["tags"] = {}
    for act in (target_of(azure).destroy, target_of(azure).status):
        with pytest.raises(ConflictError, match="was not made by modelpack"):
            act("digits")
    assert "app modelpack-digits" in azure.resources()


def test_secrets_come_from_key_vault_by_the_identity(azure: FakeAzure) -> None:
    url = "https://bank.vault.azure.net/secrets/token"
    deploy(target_of(azure), spec_of(secrets={"API_TOKEN": f"keyvault:{url}"}))

    body = next(body for method, path, body in azure.sent if "containerApps" in path)
    [secret] = body["properties"]["configuration"]["secrets"]
    assert (secret["name"], secret["keyVaultUrl"]) == ("api-token", url)
    assert secret["identity"] in body["identity"]["userAssignedIdentities"]
    [container] = body["properties"]["template"]["containers"]
    assert {"name": "API_TOKEN", "secretRef": "api-token"} in container["env"]


def test_images_go_with_the_deployment_and_stay_with_a_failed_try(azure: FakeAzure) -> None:
    target = target_of(azure)
    with pytest.raises(DeployError):
        deploy(target, spec_of("c", FAKE_MODE="crash"))
    assert len(azure.images) == 1, "the next try would send everything again"
    deploy(target, spec_of("a"))
    assert "images/modelpack/digits" in target.inventory("digits")

    target.destroy("digits")
    assert azure.images == set()


def test_the_log_is_that_of_all_replicas(azure: FakeAzure) -> None:
    target = target_of(azure)
    deploy(target, spec_of())
    assert list(target.logs("digits")) == ["this is it", "asked for /readyz"]
    assert list(target.logs("digits", tail=1)) == ["asked for /readyz"]


@pytest.mark.parametrize("is_update", [False, True], ids=["first", "update"])
@pytest.mark.parametrize("every", [29, pytest.param(1, marks=EVERY_CALL)])
def test_a_fault_at_any_call_leaves_what_the_next_deploy_brings_to_its_end(
    azure: FakeAzure, every: int, is_update: bool
) -> None:
    case = case_of(azure, changed=spec_of("b", canary_percent=20, bake_s=30.0))
    hit = fault_at_every(
        case, azure, every=every, is_update=is_update, look=lambda: one_stands(azure)
    )
    if every == 1:
        words = {one.partition(" ")[0] for one in hit}
        assert {"push", "GET", "PUT", "PATCH"} <= words
        assert not is_update or any("deactivate" in one for one in hit)


def one_stands(azure: FakeAzure) -> None:
    active = [one for one in azure.resources() if one.startswith("revision")]
    assert len(active) == 1, active


def test_a_moment_without_an_answer_is_tried_again(azure: FakeAzure) -> None:
    faults = iter(["throttled", "lost"])
    azure.fault = lambda _: next(faults, None)

    assert target_of(azure, retries=3).status("digits").state is State.ABSENT
    assert next(faults, None) is None, "the faults were not met"


def test_a_canary_is_undone_at_once_by_who_stands_beside_it(azure: FakeAzure) -> None:
    """The former revision runs still: it gets all calls again, and nothing is started anew."""
    target = target_of(azure)
    deploy(target, spec_of("a"))
    deploy(target, spec_of("b", canary_percent=20))
    assert target.status("digits").detail == "has 20 % of the calls, 'digits:a' the rest"
    azure.sent.clear()

    rollout.apply_plan(target, rollout.plan_rollback(target, "digits"))

    assert not any(method == "PUT" and "containerApps" in path for method, path, _ in azure.sent)
    assert azure.apps.moves[-1] == {revision_name(spec_of("a")): 100}
    one_stands(azure)
    assert [one.bundle for one in target.history("digits")] == ["digits:a", "digits:b", "digits:a"]
    assert target.status("digits").detail is None
    assert rollout.plan_deployment(target, spec_of("a")).is_empty


def test_a_former_revision_that_somebody_changed_is_made_anew(azure: FakeAzure) -> None:
    target = target_of(azure)
    deploy(target, spec_of("a"))
    deploy(target, spec_of("b", canary_percent=20))
    first = revision_name(spec_of("a"))
    azure.apps.revisions["modelpack-digits"][first]["template"]["scale"]["minReplicas"] = 9

    rollout.apply_plan(target, rollout.plan_rollback(target, "digits"))

    assert azure.apps.moves[-1] == {revision_name(spec_of("a"), 2): 100}
    one_stands(azure)


def test_one_that_speaks_grpc_is_not_asked_over_http(azure: FakeAzure) -> None:
    target = target_of(azure, grpc="yes")
    deploy(target, spec_of("a"))

    assert target.status("digits").state is State.RUNNING
    assert target.status("digits").url is None
    assert not [one for one in azure.calls if one.endswith(("/readyz", "/openapi.json"))]
    assert rollout.plan_deployment(target, spec_of("a")).is_empty
