"""Which apps are ours, which are somebody else's, and which were there before and are used."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelpack.deploy import Journal, State, rollout
from modelpack.errors import ConflictError, DeployError, UsageError
from modelpack.progress import SILENT

from .fake_heroku import App, FakeHeroku
from .heroku_cases import MAIN, TRIAL, deploy, spec, target_of


def test_what_somebody_else_made_is_not_touched(heroku: FakeHeroku) -> None:
    target = target_of(heroku)
    deploy(target, spec("a"))
    heroku.apps[MAIN].config["MODELPACK_TARGET"] = "other"
    with pytest.raises(ConflictError, match="stands at target 'other'"):
        target.status("digits")
    del heroku.apps[MAIN].config["MODELPACK_DEPLOYMENT"]
    for act in (target.destroy, target.status, target.revert):
        with pytest.raises(ConflictError, match="was not made by modelpack"):
            act("digits")
    assert set(heroku.resources()) == {MAIN, TRIAL}


def test_a_name_that_another_account_has_is_said_with_what_to_do(heroku: FakeHeroku) -> None:
    with pytest.raises(ConflictError, match="somebody else's") as caught:
        deploy(target_of(heroku), replace(spec(), name="taken"))
    assert "--option app=NAME" in str(caught.value.hint)
    heroku.others = {TRIAL}
    with pytest.raises(ConflictError, match="somebody else's"):
        deploy(target_of(heroku), spec())
    assert heroku.resources() == []


def test_an_app_that_is_there_and_empty_is_taken_when_it_runs_images(heroku: FakeHeroku) -> None:
    heroku.apps["vision"] = App("vision", {"stack": "heroku-24"}, heroku.url, heroku.now)
    target = target_of(heroku, app="vision")
    assert target.status("digits").state is State.ABSENT

    with pytest.raises(ConflictError, match="a stack that runs no images") as caught:
        target.apply(rollout.plan_deployment(target, spec()), Journal(), SILENT)

    assert str(caught.value.hint) == "heroku stack:set container --app vision"
    heroku.apps["vision"].stack = "container"
    assert deploy(target, spec()).state is State.RUNNING


def test_an_app_that_was_there_with_add_ons_is_used_and_stays(heroku: FakeHeroku) -> None:
    app = App("vision", {"stack": "container"}, heroku.url, heroku.now)
    app.config = theirs = {"DATABASE_URL": "postgres://x"}
    heroku.apps["vision"] = app
    target = target_of(heroku, app="vision")

    with pytest.raises(DeployError):
        deploy(target, spec("b", FAKE_MODE="crash"))
    assert (heroku.resources(), app.config) == (["vision"], theirs)
    lent = [body for _, path, body in heroku.sent if path == "/apps/vision-trial/config-vars"]
    assert lent[-1]["DATABASE_URL"] == "postgres://x"

    deploy(target, spec("a", MINE="1"))
    deploy(target, spec("b"))
    assert app.config["DATABASE_URL"] == "postgres://x"
    assert target.inventory("digits") == ("dynos/vision", "app/vision-trial")
    target.destroy("digits")
    assert (heroku.resources(), app.config, app.web["quantity"]) == (["vision"], theirs, 0)
    assert deploy(target, spec("a")).state is State.RUNNING


def test_an_app_whose_dynos_run_is_no_free_one(heroku: FakeHeroku) -> None:
    app = App("vision", {"stack": "container"}, heroku.url, heroku.now)
    app.web = {"type": "web", "quantity": 1, "size": "Basic"}
    heroku.apps["vision"] = app
    with pytest.raises(ConflictError, match="was not made by modelpack"):
        deploy(target_of(heroku, app="vision"), spec())


def test_an_app_may_have_another_name_and_a_team(heroku: FakeHeroku) -> None:
    target = target_of(heroku, app="vision", team="ours")
    deploy(target, spec("a", region="eu"))

    assert heroku.resources() == ["vision", "vision-trial"]
    assert (heroku.apps["vision"].region, heroku.apps["vision"].team) == ("eu", "ours")
    assert [one.name for one in target.list()] == ["digits"]
    assert target_of(heroku).list() == []
    with pytest.raises(UsageError, match="is in 'eu', and stays there"):
        rollout.plan_deployment(target, spec("a", region="us"))
