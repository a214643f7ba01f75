"""Options of a target are part of what a deployment is: planned, remembered, and gone back to."""

from __future__ import annotations

from typing import Any

import pytest
from modelpack_aws.kept import Kept
from modelpack_aws.place import Place
from modelpack_aws.planning import facts_of
from modelpack_aws.target import LambdaTarget, SagemakerTarget

from modelpack.deploy import DeploymentSpec, DeploySettings, Entry, Live, State


class Nowhere:
    """Clients that nobody asks."""

    region = "eu-west-1"
    endpoint_url = None

    def client(self, service: str) -> Any:
        raise AssertionError(service)


def spec(**settings: Any) -> DeploymentSpec:
    return DeploymentSpec(
        name="digits",
        bundle="digits:7c1f0b2e9a44",
        digest="sha256:" + "4" * 64,
        image="digits:7c1f0b2e9a44",
        settings=DeploySettings(**settings),
    )


def entry(**options: str) -> Entry:
    image = "1.dkr.ecr.eu-west-1.amazonaws.com/modelpack/digits@sha256:" + "1" * 64
    return Entry(spec=spec(), image=image, mode="lambda", options=options)


def standing(one: Entry) -> Live:
    facts = facts_of(one)
    around = {"repository": "r", "image_digest": facts["image_digest"]}
    return Live(
        name="digits",
        state=State.RUNNING,
        facts=facts,
        surroundings=around,
        revision=one.spec.revision,
    )


def test_the_same_options_change_nothing() -> None:
    target = LambdaTarget(clients=Nowhere(), given={"timeout": "90", "profile": "work"})

    assert target.plan(spec(), standing(entry(timeout="90"))).is_empty


def test_another_option_is_a_change_that_is_shown() -> None:
    target = LambdaTarget(clients=Nowhere(), given={"timeout": "120"})

    plan = target.plan(spec(), standing(entry(timeout="90", reserved="4")))

    assert not plan.is_empty
    text = plan.describe()
    for words in ("option.timeout", "90 → 120", "option.reserved", "4 → (not set)"):
        assert words in text


def test_what_a_stack_remembers_has_its_options() -> None:
    kept = Kept(now=entry(timeout="90"), history=(entry(),))

    again = Kept.read(kept.to_json())

    assert again == kept
    assert "options" not in kept.to_json()["Modelpack"]["history"][0]


def test_a_former_revision_is_made_with_the_options_of_its_day() -> None:
    place = Place(
        clients=Nowhere(), target="aws-lambda", allowed=("lambda",), options={"timeout": "120"}
    )

    assert place.wanted_of(entry(timeout="90")).options == {"timeout": "90"}
    assert place.wanted(spec()).options["timeout"] == "120"


@pytest.mark.parametrize(
    ("target", "options"),
    [
        (LambdaTarget, {"timeout": "5"}),
        (SagemakerTarget, {"kind": "serverless"}),
    ],
)
def test_a_target_knows_the_options_of_its_modes(target: Any, options: dict[str, str]) -> None:
    assert target.from_options(options).given == options
