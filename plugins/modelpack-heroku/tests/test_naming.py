"""The names of apps: fit for Heroku, and each of one deployment alone."""

from __future__ import annotations

from modelpack_heroku.naming import app_name, check_app, is_ours

from .heroku_cases import MAIN, TRIAL


def test_apps_are_named_so_that_two_deployments_never_meet() -> None:
    names = ["digits", "digits.v2", "digits-v2", "d" * 40, "d" * 41, "a_b"]
    apps = [app_name(name) for name in names]

    assert apps[0] == MAIN
    assert len(set(apps)) == len(names)
    for app in apps:
        check_app(app)
    assert app_name("digits", "vision") == "vision"


def test_a_trial_is_no_deployment() -> None:
    assert [is_ours(app) for app in (MAIN, TRIAL, "vision")] == [True, False, False]
