"""A plan is a value: readable, comparable, and the same through JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.deploy import Change, Live, Plan, State, change_to, difference
from modelpack.errors import DeployError

facts = st.dictionaries(
    st.sampled_from("abcd"), st.none() | st.integers(0, 2) | st.text(max_size=2)
)


def test_the_text_shows_every_sign_and_both_sides(make_spec) -> None:
    plan = Plan(
        target="docker",
        spec=make_spec(),
        changes=(
            Change(action="create", resource="image/digits:a", after={"bundle": "digits:a"}),
            Change(
                action="replace",
                resource="container/modelpack-digits",
                before={"digest": "sha256:" + "a" * 64, "env.MODE": None},
                after={"digest": "sha256:" + "b" * 64, "env.MODE": "fast"},
            ),
            Change(action="update", resource="x/y", before={"port": 1}, after={"port": 2}),
            Change(action="delete", resource="x/z", before={"port": 1}),
            Change(action="none", resource="x/unseen"),
        ),
        warnings=("cpu: not limited here",),
    )

    counts = "1 to create, 1 to update, 1 to replace, 1 to delete"
    assert plan.describe().splitlines() == [
        f"deployment 'digits' at target 'docker': {counts}",
        "",
        "  + image/digits:a",
        "      bundle  digits:a",
        "",
        "  ± container/modelpack-digits",
        "      digest    sha256:aaaaaaaaaaaa → sha256:bbbbbbbbbbbb",
        "      env.MODE  (not set) → fast",
        "",
        "  ~ x/y",
        "      port  1 → 2",
        "",
        "  - x/z",
        "      port  1",
        "",
        "  warning: cpu: not limited here",
    ]


def test_the_text_hides_what_looks_like_a_secret_and_cannot_steer_a_terminal(make_spec) -> None:
    after = {"env.DB_PASSWORD": "hunter2", "env.API_KEY": "abc", "env.ART": "\x1b[2Jx"}
    plan = Plan(
        target="local",
        spec=make_spec(),
        changes=(Change(action="create", resource="process/digits", after=after),),
    )

    text = plan.describe()

    assert "hunter2" not in text
    assert "abc" not in text
    assert "\x1b" not in text
    assert text.count("(hidden)") == 2


def test_a_plan_of_nothing_says_so(make_spec) -> None:
    plan = Plan(
        target="local", spec=make_spec(), changes=(Change(action="none", resource="process/x"),)
    )

    assert plan.is_empty
    assert plan.describe() == "deployment 'digits' at target 'local': nothing to change"


def test_json_gives_an_equal_plan_with_the_same_digest(make_spec) -> None:
    change = Change(action="update", resource="a/b", before={"x": None}, after={"x": 1.5})
    plan = Plan(target="local", spec=make_spec(A="1"), changes=(change,), warnings=("w",))

    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))

    assert again == plan
    assert again.digest == plan.digest


def test_the_digest_is_of_what_is_done_not_of_what_is_said(make_spec) -> None:
    plain = Plan(target="local", spec=make_spec())

    assert Plan(target="local", spec=make_spec(), warnings=("w",)).digest == plain.digest
    assert Plan(target="docker", spec=make_spec()).digest != plain.digest
    assert Plan(target="local", spec=make_spec("b")).digest != plain.digest


@pytest.mark.parametrize(
    "damage",
    [
        {"spec": {}},
        {"changes": [{"action": "burn", "resource": "x/y"}]},
        {"changes": [{"no": "such"}]},
        {"changes": 3},
        {"target": None, "changes": None},
    ],
)
def test_a_damaged_plan_is_a_deploy_error(make_spec, damage) -> None:
    value = Plan(target="local", spec=make_spec()).to_json() | damage
    with pytest.raises(DeployError):
        Plan.from_json(value)


def test_a_missing_image_is_named_only_when_it_has_to_be_made(make_spec) -> None:
    def plan(action: str) -> Plan:
        change = Change(action=action, resource="image/127.0.0.1:5000/team/digits:a")
        return Plan(target="docker", spec=make_spec(), changes=(change,))

    assert plan("create").missing_image == "127.0.0.1:5000/team/digits:a"
    assert plan("replace").missing_image == "127.0.0.1:5000/team/digits:a"
    assert plan("none").missing_image is None


@given(facts, facts)
def test_a_difference_holds_what_differs_and_nothing_else(before, after) -> None:
    old, new = difference(before, after)

    assert old.keys() == new.keys()
    for key in {*before, *after}:
        differs = before.get(key) != after.get(key)
        assert (key in old) == differs
        if differs:
            assert (old[key], new[key]) == (before.get(key), after.get(key))


@given(facts)
def test_what_is_live_and_wanted_needs_no_change(wanted) -> None:
    live = Live(name="x", state=State.RUNNING, facts=wanted)
    assert change_to("process/x", live, wanted).action == "none"


def test_what_is_absent_is_created_with_all_facts() -> None:
    change = change_to("process/x", Live(name="x"), {"a": 1})
    assert (change.action, dict(change.before), dict(change.after)) == ("create", {}, {"a": 1})


def test_other_facts_replace() -> None:
    live = Live(name="x", state=State.RUNNING, facts={"a": 1, "b": 1})
    change = change_to("process/x", live, {"a": 2, "b": 1})
    assert (change.action, dict(change.before), dict(change.after)) == (
        "replace",
        {"a": 1},
        {"a": 2},
    )


def test_a_resource_that_stays_is_updated_by_other_facts() -> None:
    """A service of a platform that only gets another revision."""
    live = Live(name="x", state=State.RUNNING, facts={"a": 1, "b": 1})
    change = change_to("service/x", live, {"a": 2, "b": 1}, stays=True)
    assert (change.action, dict(change.before), dict(change.after)) == (
        "update",
        {"a": 1},
        {"a": 2},
    )
    assert change_to("service/x", live, {"a": 1, "b": 1}, stays=True).action == "none"
    assert change_to("service/x", Live(name="x"), {"a": 1}, stays=True).action == "create"


@pytest.mark.parametrize("state", [State.STOPPED, State.FAILED, State.UNHEALTHY])
def test_what_does_not_run_is_updated(state: State) -> None:
    change = change_to("process/x", Live(name="x", state=state, facts={"a": 1}), {"a": 1})
    assert change.action == "update"
    assert (change.before["state"], change.after["state"]) == (state.value, "running")


def test_what_was_never_found_healthy_is_not_done() -> None:
    live = Live(name="x", state=State.RUNNING, facts={"a": 1}, is_settled=False)
    change = change_to("process/x", live, {"a": 1})
    assert (change.action, change.after) == ("update", {"checked": "yes"})
