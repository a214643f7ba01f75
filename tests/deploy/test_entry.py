"""A revision comes back from a platform as it went there."""

from __future__ import annotations

import json

import pytest

from modelpack.deploy import Capabilities, DeploymentSpec, DeploySettings, Entry, chosen, marked
from modelpack.errors import DeployError

SPEC = DeploymentSpec(
    name="digits",
    bundle="digits:1",
    digest="sha256:" + "0" * 64,
    settings=DeploySettings(cpu=2.0, env={"LEVEL": "debug"}, region="north"),
)


def entry(**more: object) -> Entry:
    return Entry(spec=SPEC, image="registry/digits@sha256:ab", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "one",
    [
        entry(),
        entry(mode="ecs", options={"spot": "yes"}, unit="rev-1", since="2026-03-01T10:00:00Z"),
    ],
    ids=["bare", "whole"],
)
def test_what_was_written_is_read(one: Entry) -> None:
    assert Entry.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_what_is_empty_takes_no_room() -> None:
    """Platforms keep it in tags and annotations, which are short."""
    assert entry().to_json().keys() == {"spec", "image"}


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"spec": SPEC.to_json()},
        {"spec": [], "image": "x"},
        {"spec": SPEC.to_json(), "image": "x", "options": "spot"},
    ],
)
def test_what_is_damaged_raises_what_readers_expect(value: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError, DeployError)):
        Entry.from_json(value)


def test_facts_are_what_the_mode_heeds_with_mode_and_options() -> None:
    heeds = Capabilities(heeds=frozenset({"cpu"}))
    facts = entry(mode="ecs", options={"spot": "yes"}).facts(heeds)
    assert facts == {
        "bundle": "digits:1",
        "digest": SPEC.digest,
        "cpu": 2.0,
        "mode": "ecs",
        "option.spot": "yes",
    }
    assert "mode" not in entry().facts(heeds)


def test_other_options_are_another_revision() -> None:
    assert entry().mark == SPEC.revision
    spot, other = entry(options={"spot": "yes"}), entry(options={"spot": "no"})
    assert len({entry().mark, spot.mark, other.mark}) == 3
    assert spot.mark == marked(SPEC.revision, {"spot": "yes"})
    assert spot.mark.startswith(SPEC.revision)
    assert spot.mark.isalnum()


def test_options_of_the_caller_are_not_of_what_runs() -> None:
    given = {"spot": "yes", "profile": "me", "base": "slim"}
    assert chosen(given, {"profile", "base"}) == {"spot": "yes"}
    assert list(chosen({"b": "1", "a": "2"}, ())) == ["a", "b"]
