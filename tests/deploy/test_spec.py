"""A spec is checked as it is made, and the same facts are the same revision."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.config.settings import DeploySettings
from modelpack.deploy import DeploymentSpec
from modelpack.errors import DeployError, TagError, UsageError

names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True)
values = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
settings = st.builds(
    DeploySettings,
    port=st.integers(0, 65535),
    host=st.sampled_from(["127.0.0.1", "0.0.0.0", "::1"]),
    cpu=st.none() | st.floats(0.01, 1024),
    memory_bytes=st.none() | st.integers(6 * 2**20, 2**40),
    env=st.dictionaries(st.from_regex(r"[A-Z]{1,8}", fullmatch=True), values, max_size=3),
    ready_timeout_s=st.floats(0.1, 1000),
    region=st.none() | st.just("eu-central-1"),
    accelerator=st.none() | st.sampled_from(["nvidia-l4", "nvidia-l4:2"]),
    min_replicas=st.integers(0, 3),
    max_replicas=st.none() | st.integers(3, 9),
    canary_percent=st.none() | st.integers(1, 99),
    secrets=st.dictionaries(
        st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.just("env:TOKEN"), max_size=2
    ),
    public=st.booleans(),
    subnets=st.lists(st.from_regex(r"subnet-[0-9a-f]{2}", fullmatch=True), max_size=2).map(tuple),
    labels=st.dictionaries(st.sampled_from(["team", "stage"]), st.just("ml"), max_size=2),
)
specs = st.builds(
    DeploymentSpec,
    name=names,
    bundle=names.map(lambda name: f"{name}:1"),
    digest=st.just("sha256:" + "0" * 64),
    image=st.none() | st.just("digits:1"),
    settings=settings,
)


@given(specs)
def test_json_gives_an_equal_spec(spec: DeploymentSpec) -> None:
    assert DeploymentSpec.from_json(spec.to_json()) == spec


@given(specs)
def test_facts_survive_the_nine_decimals_of_an_engine(spec: DeploymentSpec) -> None:
    cpu = spec.facts().get("cpu")
    assert cpu is None or round(spec.settings.cpu * 1e9) / 1e9 == cpu


def test_a_setting_that_is_not_set_is_no_fact(make_spec) -> None:
    """A spec of before there were these settings keeps its facts, and so its revision."""
    spec = make_spec("a", port=1, cpu=2, A="b")
    assert spec.facts() == {
        "bundle": "digits:a",
        "digest": spec.digest,
        "host": "127.0.0.1",
        "port": 1,
        "cpu": 2.0,
        "env.A": "b",
    }
    assert sorted(spec.to_json()["settings"]) == [
        "cpu",
        "env",
        "host",
        "memory_bytes",
        "port",
        "ready_timeout_s",
    ]


def test_what_is_set_is_a_flat_fact(make_spec) -> None:
    facts = make_spec(
        region="eu",
        min_replicas=0,
        subnets=("subnet-1", "subnet-2"),
        public=True,
        secrets={"TOKEN": "env:TOKEN"},
        labels={"team": "ml"},
    ).facts()
    assert {key: facts[key] for key in list(facts)[4:]} == {
        "region": "eu",
        "min_replicas": 0,
        "subnets": "subnet-1 subnet-2",
        "public": "yes",
        "secret.TOKEN": "env:TOKEN",
        "label.team": "ml",
    }


def test_how_long_a_canary_bakes_is_no_part_of_the_revision(make_spec) -> None:
    one, other = (make_spec(canary_percent=10, bake_s=bake_s) for bake_s in (1.0, 2.0))
    assert one.revision == other.revision != make_spec(canary_percent=20).revision


def test_a_secret_cannot_take_the_place_of_a_variable_of_the_target(make_spec) -> None:
    with pytest.raises(UsageError, match=r"deploy\.secrets\.MODELPACK_PORT"):
        make_spec(secrets={"MODELPACK_PORT": "env:PORT"})


def test_how_long_we_wait_is_no_part_of_the_revision(make_spec) -> None:
    assert make_spec(ready_timeout_s=1.0).revision == make_spec(ready_timeout_s=2.0).revision


def test_everything_else_is(make_spec) -> None:
    others = [
        make_spec("b"),
        make_spec(port=1),
        make_spec(host="0.0.0.0"),
        make_spec(cpu=1),
        make_spec(memory_bytes=2**30),
        make_spec(A="1"),
        make_spec(image="digits:a"),
    ]
    assert len({spec.revision for spec in [make_spec(), *others]}) == len(others) + 1


def test_a_whole_number_of_processors_is_the_same_as_a_float(make_spec) -> None:
    assert make_spec(cpu=2).revision == make_spec(cpu=2.0).revision


@pytest.mark.parametrize("name", ["", "..", "a/b", "Upper", "-x", "a" * 64])
def test_a_bad_name_is_refused(make_spec, name: str) -> None:
    with pytest.raises(TagError):
        make_spec(name=name)


def test_a_bundle_without_a_version_is_refused() -> None:
    with pytest.raises(UsageError, match="no version"):
        DeploymentSpec(name="digits", bundle="digits", digest="sha256:0")


@pytest.mark.parametrize("variable", ["MODELPACK_PORT", "MODELPACK_HOST", "MODELPACK_BUNDLE"])
def test_variables_of_the_target_are_refused(make_spec, variable: str) -> None:
    with pytest.raises(UsageError, match=variable):
        make_spec(**{variable: "1"})


def test_a_server_setting_in_the_environment_is_checked_before_anything_runs(make_spec) -> None:
    with pytest.raises(UsageError, match=r"deploy\.env\.MODELPACK_GRACE_S: must be a number"):
        make_spec(MODELPACK_GRACE_S="soon")


@pytest.mark.parametrize(
    "damage",
    [
        {},
        {"name": "../x"},
        {"settings": None},
        {"settings": {"port": -1}},
        {"settings": {"no_such": 1}},
        {"bundle": 3},
    ],
)
def test_damaged_json_is_a_deploy_error(make_spec, damage) -> None:
    value = {**make_spec().to_json(), **damage} if damage else {}
    with pytest.raises(DeployError, match="cannot be read"):
        DeploymentSpec.from_json(value)
