"""The target over a small Heroku on loopback: the whole contract, releases, what may go wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from modelpack.deploy import Journal, State, rollout
from modelpack.errors import (
    ConflictError,
    DeployError,
    RefusedError,
    UnreachableError,
    UsageError,
)
from modelpack.progress import SILENT
from modelpack.testing import CLAIMS, KILLS, Claim, TargetCase, fault_at_every

from .fake_heroku import READ_KEY, FakeHeroku
from .heroku_cases import MAIN, TRIAL, deploy, spec, target_of


def case_of(heroku: FakeHeroku, **more: Any) -> TargetCase:
    return TargetCase(
        target=target_of(heroku),
        spec=spec("a"),
        changed=spec("b", EXTRA="1"),
        broken=spec("c", FAKE_MODE="crash"),
        resources=heroku.resources,
        **more,
    )


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_the_contract_of_targets(claim: Claim, heroku: FakeHeroku) -> None:
    claim(case_of(heroku, most_kills=2))


@pytest.mark.long
@pytest.mark.parametrize("claim", KILLS, ids=lambda claim: claim.__name__)
def test_a_kill_at_any_point_is_mended(claim: Claim, heroku: FakeHeroku) -> None:
    claim(case_of(heroku))


def test_a_revision_is_tried_in_an_app_of_its_own_and_then_released(heroku: FakeHeroku) -> None:
    target, wanted = target_of(heroku), spec("b", min_replicas=2, NEW="1")
    deploy(target, spec("a", OLD="1"))
    heroku.sent.clear()

    target.apply(rollout.plan_deployment(target, wanted), Journal(), SILENT)

    assert not any(path.startswith(f"/apps/{MAIN}/") for _, path, _ in heroku.sent)
    status = target.status("digits")
    assert (status.state, status.bundle) == (State.RUNNING, "digits:b")
    assert str(status.url).endswith(f"/serve/{TRIAL}")
    assert "answers the calls" in str(status.meanwhile)
    assert heroku.apps[TRIAL].web == {"type": "web", "quantity": 1, "size": "Standard-1x"}

    target.settle("digits")

    here = [(path.rpartition("/")[2], body) for _, path, body in heroku.sent if f"/{MAIN}/" in path]
    assert [word for word, _ in here] == ["config-vars", "formation", "formation", "preboot"]
    variables = here[0][1]
    assert (variables["NEW"], variables["OLD"], variables["MODELPACK_TAG"]) == (
        "1",
        None,
        "digits:b",
    )
    assert here[2][1]["updates"] == [{"type": "web", "quantity": 2, "size": "standard-1x"}]
    assert heroku.apps[TRIAL].web["quantity"] == 0
    assert set(heroku.apps[TRIAL].config) == {"MODELPACK_DEPLOYMENT", "MODELPACK_TARGET"}
    assert target.status("digits").url == f"{heroku.url}/serve/{MAIN}"


def test_a_revision_that_fails_on_trial_never_comes_near_the_app(heroku: FakeHeroku) -> None:
    target = target_of(heroku)
    deploy(target, spec("a"))
    releases = len(heroku.apps[MAIN].releases)

    with pytest.raises(DeployError) as caught:
        deploy(target, spec("b", FAKE_MODE="crash"))

    assert "no such file: weights" in caught.value.message
    assert "(digits:a) runs as before" in str(caught.value.hint)
    assert len(heroku.apps[MAIN].releases) == releases
    assert heroku.apps[TRIAL].web["quantity"] == 0


def test_what_fails_only_as_the_app_goes_back_to_the_release_of_before(
    heroku: FakeHeroku,
) -> None:
    target = target_of(heroku)
    deploy(target, spec("a", min_replicas=2))
    before = heroku.apps[MAIN].config

    with pytest.raises(DeployError, match="crashed"):
        deploy(target, spec("b", min_replicas=3, FAKE_MODE="crash in main"))

    app = heroku.apps[MAIN]
    assert app.config == before
    assert app.releases[-1]["description"].startswith("Rollback to v")
    assert app.web["quantity"] == 2
    assert target.status("digits").bundle == "digits:a"
    assert [one.bundle for one in target.history("digits")] == ["digits:a"]
    assert rollout.plan_deployment(target, spec("a", min_replicas=2)).is_empty


def test_what_was_cut_short_on_its_way_to_the_app_is_undone_by_another_deploy(
    heroku: FakeHeroku,
) -> None:
    target = target_of(heroku)
    deploy(target, spec("a", OLD="1"))
    target.apply(rollout.plan_deployment(target, spec("b", NEW="1")), Journal(), SILENT)
    heroku.fault = lambda word: "lost" if word == f"PATCH /apps/{MAIN}/formation" else None
    with pytest.raises(UnreachableError):
        target.settle("digits")
    heroku.fault = lambda _: None
    assert heroku.apps[MAIN].config["NEW"] == "1"
    assert [one.bundle for one in target.history("digits")] == ["digits:a"]

    with pytest.raises(DeployError):
        deploy(target, spec("c", FAKE_MODE="crash"))

    assert target.status("digits").bundle == "digits:a"
    assert heroku.apps[MAIN].config["OLD"] == "1"
    assert "NEW" not in heroku.apps[MAIN].config
    assert [one.bundle for one in target.history("digits")] == ["digits:a"]
    assert deploy(target, spec("b", NEW="1")).bundle == "digits:b"


def test_a_scaling_that_was_cut_short_is_undone_with_what_comes_after(heroku: FakeHeroku) -> None:
    target = target_of(heroku)
    deploy(target, spec("a", min_replicas=2))
    scaling = rollout.plan_scale(target, "digits", fewest=5, most=None)
    target.apply(scaling, Journal(), SILENT)
    assert not target.read_live(scaling.spec).is_settled

    with pytest.raises(DeployError):
        deploy(target, spec("b", FAKE_MODE="crash in main"))

    assert heroku.apps[MAIN].web["quantity"] == 2
    assert target.status("digits").bundle == "digits:a"


def test_a_release_that_others_made_meanwhile_is_not_gone_back_from(heroku: FakeHeroku) -> None:
    target = target_of(heroku)
    deploy(target, spec("a"))
    target.apply(rollout.plan_deployment(target, spec("b")), Journal(), SILENT)
    heroku.apps[MAIN].config["REDIS_URL"] = "redis://new"
    heroku.apps[MAIN].release("Update REDIS by an add-on")

    target.revert("digits")

    assert heroku.apps[MAIN].config["REDIS_URL"] == "redis://new"
    assert heroku.apps[MAIN].releases[-1]["description"].startswith("Update REDIS")
    assert target.status("digits").bundle == "digits:a"


def test_a_rollback_is_a_new_release_of_what_was(heroku: FakeHeroku) -> None:
    target = target_of(heroku)
    deploy(target, spec("a"))
    deploy(target, spec("b"))

    status = rollout.apply_plan(target, rollout.plan_rollback(target, "digits"))

    assert status.bundle == "digits:a"
    assert [one.bundle for one in target.history("digits")] == ["digits:a", "digits:b", "digits:a"]


def test_scaling_is_no_release_and_starts_nothing_anew(heroku: FakeHeroku) -> None:
    target = target_of(heroku)
    deploy(target, spec("a"))
    releases, since = len(heroku.apps[MAIN].releases), target.status("digits").since
    heroku.calls.clear()

    plan = rollout.plan_scale(target, "digits", fewest=4, most=None)
    status = rollout.apply_plan(target, plan)

    [change] = [one for one in plan.changes if one.action != "none"]
    assert change.after == {"min_replicas": 4}
    assert heroku.apps[MAIN].web["quantity"] == 4
    assert (len(heroku.apps[MAIN].releases), status.since) == (releases, since)
    assert "push" not in heroku.calls
    deploy(target, spec("b", min_replicas=4))
    assert heroku.apps[MAIN].web["quantity"] == 4
    deploy(target, spec("c"))
    assert heroku.apps[MAIN].web["quantity"] == 1


def test_new_dynos_start_before_the_old_ones_end_where_heroku_has_it(heroku: FakeHeroku) -> None:
    target, app = target_of(heroku), lambda: heroku.apps[MAIN]
    deploy(target, spec("a"))
    assert app().preboot
    deploy(target, spec("b", instance="basic"))
    assert not app().preboot
    with pytest.raises(DeployError):
        deploy(target, spec("c", FAKE_MODE="crash in main"))
    assert (app().preboot, app().web["size"]) == (False, "Basic")

    plan = rollout.plan_deployment(target_of(heroku, preboot="no"), spec("d"))
    assert "option.preboot" in plan.describe()
    rollout.apply_plan(target_of(heroku, preboot="no"), plan)
    assert not app().preboot


def test_a_secret_that_is_not_there_is_said_before_anything_is_sent(heroku: FakeHeroku) -> None:
    with pytest.raises(UsageError, match="'NOT_SET_HERE' is not set"):
        deploy(target_of(heroku), spec("a", secrets={"TOKEN": "env:NOT_SET_HERE"}))
    assert "push" not in heroku.calls


def test_variables_of_add_ons_stay_and_are_lent_to_the_trial(heroku: FakeHeroku) -> None:
    target = target_of(heroku)
    deploy(target, spec("a", MINE="1"))
    heroku.apps[MAIN].config |= {"DATABASE_URL": "postgres://x", "HEROKU_THING": "1"}

    target.apply(rollout.plan_deployment(target, spec("b")), Journal(), SILENT)
    tried = dict(heroku.apps[TRIAL].config)
    target.settle("digits")

    assert tried["DATABASE_URL"] == "postgres://x"
    assert "HEROKU_THING" not in tried
    assert heroku.apps[MAIN].config["DATABASE_URL"] == "postgres://x"
    assert "MINE" not in heroku.apps[MAIN].config
    assert "DATABASE_URL" not in heroku.apps[TRIAL].config


def test_secrets_are_read_when_it_is_applied_and_are_in_no_memory(
    heroku: FakeHeroku, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE", "hunter2hunter2")
    target, wanted = target_of(heroku), spec("a", secrets={"API_TOKEN": "env:SOURCE"})
    deploy(target, wanted)

    config = heroku.apps[MAIN].config
    assert config.pop("API_TOKEN") == "hunter2hunter2"
    assert "hunter2" not in json.dumps(config)
    assert "env:SOURCE" in config["MODELPACK_KEPT"]
    deploy(target, spec("b"))
    assert "API_TOKEN" not in heroku.apps[MAIN].config


def test_what_somebody_else_has_changed_is_shown_and_put_back(heroku: FakeHeroku) -> None:
    target, wanted = target_of(heroku), spec("a", LEVEL="1")
    deploy(target, wanted)
    heroku.apps[MAIN].config["LEVEL"] = "9"
    heroku.apps[MAIN].web["size"] = "Performance-M"

    plan = rollout.plan_deployment(target, wanted)

    assert plan.drift[0].after == {"env.LEVEL": "9", "dyno": "performance-m"}
    rollout.apply_plan(target, plan)
    assert rollout.plan_deployment(target, wanted).is_empty
    assert heroku.apps[MAIN].config["LEVEL"] == "1"


def test_of_two_deploys_at_once_none_comes_to_the_app_unprobed(heroku: FakeHeroku) -> None:
    target = target_of(heroku)
    deploy(target, spec("a"))
    target.apply(rollout.plan_deployment(target, spec("b")), Journal(), SILENT)
    other = rollout.plan_deployment(target, spec("c"))
    target.apply(other, Journal(), SILENT)

    with pytest.raises(ConflictError, match="somebody else has begun another deploy"):
        target.verify(spec("b"), target.status("digits"))
    assert target.verify(other.spec, target.status("digits")) is None
    assert heroku.apps[MAIN].config["MODELPACK_TAG"] == "digits:a"


def test_a_key_for_reading_plans_and_changes_nothing(
    heroku: FakeHeroku, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEROKU_API_KEY", READ_KEY)
    target = target_of(heroku)

    assert not rollout.plan_deployment(target, spec()).is_empty
    with pytest.raises(RefusedError, match="not permitted to make the app") as caught:
        deploy(target, spec())
    assert "nothing of it is left" in str(caught.value.hint)
    assert heroku.resources() == []


def test_a_key_that_is_not_taken_is_said_in_the_plan(
    heroku: FakeHeroku, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEROKU_API_KEY", "another")
    assert not rollout.plan_deployment(target_of(heroku), spec()).is_live_known


def test_the_log_is_what_the_processes_wrote(heroku: FakeHeroku) -> None:
    target = target_of(heroku)
    deploy(target, spec())

    written = ["this is it", '{"event":"ready"}', f"asked in {MAIN}"]
    assert list(target.logs("digits")) == written
    assert list(target.logs("digits", tail=1)) == written[-1:]
    assert list(target.logs("digits", tail=0)) == []
    assert list(target.logs("digits", follow=True))[-1] == "and on"


def test_a_moment_without_an_answer_is_tried_again(heroku: FakeHeroku) -> None:
    faults = iter(["throttled", "refused", "lost"])
    heroku.fault = lambda _: next(faults, None)
    target = replace(target_of(heroku), heroku=heroku.asked(attempts=4))

    assert target.status("digits").state is State.ABSENT
    assert next(faults, None) is None, "the faults were not met"


@pytest.mark.parametrize("kind", ["refused", "lost"])
@pytest.mark.parametrize("is_update", [False, True], ids=["first", "update"])
@pytest.mark.parametrize("every", [37, pytest.param(1, marks=pytest.mark.long)])
def test_a_fault_at_any_call_leaves_what_the_next_deploy_brings_to_its_end(
    heroku: FakeHeroku, every: int, is_update: bool, kind: str
) -> None:
    def the_trial_sleeps() -> None:
        assert heroku.apps[TRIAL].web["quantity"] == 0
        assert "MODELPACK_TRIAL" not in heroku.apps[TRIAL].config

    case = replace(case_of(heroku), changed=spec("b", EXTRA="1", min_replicas=2))
    hit = fault_at_every(
        case, heroku, kinds=(kind,), every=every, is_update=is_update, look=the_trial_sleeps
    )

    if every == 1:
        assert {"push", f"PATCH /apps/{MAIN}/formation", f"GET /apps/{TRIAL}/dynos"} <= hit
