"""Deployments are found wherever they are; what cannot be asked stops nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from importlib.metadata import EntryPoint

import pytest

from modelpack.deploy import State, Status, records, survey
from modelpack.deploy.catalog import GROUP, Catalog
from modelpack.deploy.records import Record
from modelpack.errors import (
    ConflictError,
    CredentialsError,
    DeploymentNotFoundError,
    EngineError,
    TagError,
    TargetNotFoundError,
    ToolMissingError,
    UnreachableError,
    UsageError,
)


class Place:
    """A target whose deployments are given; options choose among several engines."""

    def __init__(self, name: str, stands: Mapping[str, list[str]], options: Mapping[str, str]):
        self.name, self.options, self.whereabouts = name, options, options
        self.names = stands.setdefault(options.get("engine", ""), [])

    def status(self, name: str) -> Status:
        state = State.RUNNING if name in self.names else State.ABSENT
        return Status(name=name, target=self.name, state=state)

    def list(self) -> list[Status]:
        return [self.status(name) for name in self.names]

    def hold(self, name: str):
        return nullcontext()

    def destroy(self, name: str) -> None:
        self.names.remove(name)


class Point(EntryPoint):
    """An entry point that loads what it is given."""

    def load(self):
        return PLACES[self.name]


PLACES: dict[str, object] = {}


def catalog(**places: object) -> Catalog:
    """Make a catalog of targets: by name the deployments that stand there, or what goes wrong."""

    class Maker:
        def __init__(self, name: str, stands: object) -> None:
            self.name = name
            self.stands = {"": stands} if isinstance(stands, list) else stands

        def from_options(self, options: Mapping[str, str]) -> Place:
            if isinstance(self.stands, Exception):
                raise self.stands
            return Place(self.name, self.stands, options)

    PLACES.clear()
    PLACES.update({name: Maker(name, stands) for name, stands in places.items()})
    return Catalog({name: Point(name, f"x:{name}", GROUP) for name in places})


def test_the_deployments_of_all_targets_are_listed_by_name() -> None:
    listing = survey.list_deployments(catalog(sea=["whale", "cod"], air=["gull"]))

    assert [(one.name, one.target) for one in listing.statuses] == [
        ("cod", "sea"),
        ("gull", "air"),
        ("whale", "sea"),
    ]
    assert listing.problems == ()


def test_a_target_that_fails_is_one_line_and_the_others_are_listed() -> None:
    listing = survey.list_deployments(catalog(sea=["cod"], air=EngineError("no wind")))

    assert [one.name for one in listing.statuses] == ["cod"]
    assert listing.problems == ("target 'air': no wind",)


@pytest.mark.parametrize("error", [ToolMissingError, CredentialsError, UsageError])
def test_what_was_never_set_up_is_worth_a_line_only_when_it_was_used(error) -> None:
    places = catalog(sea=["cod"], air=error("no wings"))
    assert survey.list_deployments(places).problems == ()

    records.write(Record(name="gull", target="air"))
    assert survey.list_deployments(places).problems == ("target 'air': no wings",)


def test_a_record_of_a_target_that_is_not_here_is_said() -> None:
    records.write(Record(name="rover", target="moon"))

    listing = survey.list_deployments(catalog(sea=["cod"]))

    assert [one.name for one in listing.statuses] == ["cod"]
    assert listing.problems == ("target 'moon': no target 'moon'",)


def test_what_was_sent_with_options_is_asked_for_with_them() -> None:
    records.write(Record(name="far", target="sea", options={"engine": "remote"}))
    places = catalog(sea={"": ["near"], "remote": ["far", "other"]})

    names = [one.name for one in survey.list_deployments(places).statuses]

    assert names == ["far", "near", "other"]
    assert survey.find("far", catalog=places).options == {"engine": "remote"}


def test_a_deployment_without_a_record_is_found() -> None:
    assert survey.find("gull", catalog=catalog(sea=["cod"], air=["gull"])).name == "air"


def test_a_record_that_is_out_of_date_is_not_believed() -> None:
    records.write(Record(name="gull", target="sea"))
    assert survey.find("gull", catalog=catalog(sea=["cod"], air=["gull"])).name == "air"


def test_a_name_at_two_targets_needs_to_say_which() -> None:
    places = catalog(sea=["cod"], air=["cod"])

    with pytest.raises(ConflictError, match="'cod' at 'air' and 'sea'"):
        survey.find("cod", catalog=places)
    assert survey.find("cod", at="sea", catalog=places).name == "sea"


def test_what_is_nowhere_gets_a_suggestion() -> None:
    with pytest.raises(DeploymentNotFoundError) as caught:
        survey.find("whal", catalog=catalog(sea=["whale"], air=EngineError("no wind")))

    assert caught.value.exit_code == 3
    assert caught.value.hint == ("did you mean 'whale'?; target 'air' could not be asked: no wind")


def test_targets_that_cannot_be_asked_for_one_reason_are_told_together() -> None:
    places = catalog(sea=EngineError("no wind"), air=EngineError("no wind"), moon=EngineError("x"))

    with pytest.raises(DeploymentNotFoundError) as caught:
        survey.find("whale", catalog=places)

    said = "; targets 'air', 'sea' could not be asked: no wind; target 'moon' could not be asked: x"
    assert str(caught.value.hint).endswith(said)


def test_what_stands_at_another_target_than_the_named_one_is_told_where() -> None:
    with pytest.raises(DeploymentNotFoundError) as caught:
        survey.find("cod", at="air", catalog=catalog(sea=["cod"], air=[]))

    assert caught.value.hint == "there is one at target 'sea'"


def test_a_target_that_holds_it_and_cannot_be_asked_is_said() -> None:
    records.write(Record(name="gull", target="air"))

    with pytest.raises(ToolMissingError, match="no wings"):
        survey.find("gull", catalog=catalog(sea=[], air=ToolMissingError("no wings")))


def test_a_target_that_is_named_is_the_only_one_asked() -> None:
    places = catalog(sea=["cod"], air=EngineError("no wind"))

    with pytest.raises(EngineError):
        survey.find("cod", at="air", catalog=places)
    with pytest.raises(TargetNotFoundError):
        survey.find("cod", at="moon", catalog=places)


def test_destroy_forgets_the_record() -> None:
    records.write(Record(name="cod", target="sea"))
    places = catalog(sea=["cod"])

    survey.destroy("cod", catalog=places)

    assert records.read("cod") is None
    assert survey.list_deployments(places).statuses == ()


def test_destroy_of_what_is_gone_says_so_once_and_cleans_up() -> None:
    records.write(Record(name="cod", target="sea"))

    with pytest.raises(DeploymentNotFoundError):
        survey.destroy("cod", catalog=catalog(sea=[]))

    assert records.read("cod") is None


def test_destroy_at_one_target_leaves_the_record_of_another() -> None:
    records.write(Record(name="cod", target="sea"))

    survey.destroy("cod", at="air", catalog=catalog(sea=["cod"], air=["cod"]))

    assert records.read("cod").target == "sea"


def test_what_is_kept_of_a_target_that_is_gone_can_be_forgotten() -> None:
    records.write(Record(name="cod", target="sea"))

    forgotten = survey.forget("cod", catalog=catalog(sea=UnreachableError("the sea is dry")))

    assert forgotten.target == "sea"
    assert records.read("cod") is None
    with pytest.raises(DeploymentNotFoundError, match="nothing is remembered"):
        survey.forget("cod", catalog=catalog(sea=[]))


def test_what_stands_at_a_target_that_answers_is_not_forgotten() -> None:
    records.write(Record(name="cod", target="sea"))

    with pytest.raises(ConflictError, match="stands at target 'sea', which answers"):
        survey.forget("cod", catalog=catalog(sea=["cod"]))

    assert records.read("cod") is not None


def test_destroy_waits_for_nobody() -> None:
    with records.lock("cod"), pytest.raises(ConflictError):
        survey.destroy("cod", catalog=catalog(sea=["cod"]))


@pytest.mark.parametrize("act", [survey.find, survey.destroy, survey.forget])
def test_names_are_checked(act) -> None:
    with pytest.raises(TagError):
        act("../cod", catalog=catalog(sea=[]))
