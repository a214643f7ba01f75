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
