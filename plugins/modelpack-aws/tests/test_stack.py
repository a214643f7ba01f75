"""Stacks in every state that they are left in by others, by failures and by kills."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
from modelpack_aws.changes import read_changes
from modelpack_aws.stack import Order, Stacks

from modelpack.deploy import Clock
from modelpack.errors import DeployError

from .fake_aws import FakeAws

TASK = {
    "Type": "AWS::ECS::TaskDefinition",
    "Properties": {"ContainerDefinitions": [{"Environment": []}]},
}
ONE, OTHER = ({"Task": TASK | {"Metadata": {"n": number}}} for number in (1, 2))


class Notes:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)

    def step(self, text: str) -> AbstractContextManager[None]:
        return nullcontext()


@pytest.fixture
def aws() -> Iterator[FakeAws]:
    fake = FakeAws()
    yield fake
    fake.close()


@pytest.fixture
def stacks(aws: FakeAws) -> Stacks:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    return Stacks(clients=aws, clock=Clock(now=lambda: now[0], sleep=sleep))


def order(resources: Any = ONE) -> Order:
    template = {
        "Parameters": {"Image": {"Type": "String"}},
        "Resources": resources,
        "Metadata": {"mine": 1},
    }
    return Order(stack="digits", body=json.dumps(template), parameters={"Image": "x"})


def bring(stacks: Stacks, wanted: Order, notes: Notes | None = None) -> Any:
    notes = notes or Notes()
    return stacks.execute(stacks.prepare(wanted, notes), notes, timeout_s=60)


def test_a_stack_is_made_read_changed_and_deleted(aws: FakeAws, stacks: Stacks) -> None:
    assert stacks.read("digits") is None
    first = bring(stacks, order())
    assert (first.status, first.metadata) == ("CREATE_COMPLETE", {"mine": 1})
    assert first.resources == {"Task": "AWS::ECS::TaskDefinition"}
    assert bring(stacks, order(OTHER)).status == "UPDATE_COMPLETE"
    stacks.delete("digits", Notes(), timeout_s=60)
    stacks.delete("digits", Notes(), timeout_s=60)
    assert aws.resources() == []


def test_what_stands_already_leaves_no_change_set(aws: FakeAws, stacks: Stacks) -> None:
    bring(stacks, order())
    prepared = stacks.prepare(order(), Notes())
    assert prepared.is_empty
    assert aws.resources() == ["stack digits"]
    assert stacks.execute(prepared, Notes(), timeout_s=60).status == "CREATE_COMPLETE"


def test_the_same_change_from_the_same_state_has_one_name(stacks: Stacks) -> None:
    bring(stacks, order())
    names = {stacks.prepare(order(OTHER), Notes()).name for _ in range(2)}
    assert len(names) == 1
    bring(stacks, order(OTHER))
    bring(stacks, order())
    assert stacks.prepare(order(OTHER), Notes()).name not in names


def test_a_change_set_that_is_taken_back_takes_its_empty_stack_along(
    aws: FakeAws, stacks: Stacks
) -> None:
    stacks.drop(stacks.prepare(order(), Notes()))
    assert stacks.read("digits") is None
    assert aws.resources() == []


def test_what_is_under_way_is_waited_for(aws: FakeAws, stacks: Stacks) -> None:
    bring(stacks, order())
    stack, notes = aws.stacks["digits"], Notes()
    stack.status = "UPDATE_IN_PROGRESS"
    stack.then = lambda: setattr(stack, "status", "UPDATE_COMPLETE")
    assert bring(stacks, order(OTHER), notes).status == "UPDATE_COMPLETE"
    assert "the stack 'digits' is being changed (UPDATE_IN_PROGRESS)" in notes.lines


@pytest.mark.parametrize("status", ["ROLLBACK_COMPLETE", "CREATE_FAILED", "DELETE_FAILED"])
def test_what_never_came_up_is_made_again(aws: FakeAws, stacks: Stacks, status: str) -> None:
    bring(stacks, order())
    former = aws.stacks["digits"]
    former.status, notes = status, Notes()
    assert bring(stacks, order(), notes).status == "CREATE_COMPLETE"
    assert aws.stacks["digits"].id != former.id
    assert "the stack 'digits' never came up and is made again" in notes.lines


def test_what_is_stuck_on_its_way_back_is_helped_along(aws: FakeAws, stacks: Stacks) -> None:
    bring(stacks, order())
    stack = aws.stacks["digits"]
    stack.status = "UPDATE_ROLLBACK_FAILED"
    assert bring(stacks, order(OTHER)).status == "UPDATE_COMPLETE"
    assert "continue_update_rollback" in aws.calls


def test_what_takes_too_long_is_said_and_left_alone(aws: FakeAws, stacks: Stacks) -> None:
    bring(stacks, order())
    stack = aws.stacks["digits"]
    stack.status = "UPDATE_IN_PROGRESS"
    with pytest.raises(DeployError, match="still UPDATE_IN_PROGRESS after 60 s") as late:
        stacks.wait("digits", Notes(), timeout_s=60)
    assert "deploy again to wait for it" in str(late.value.hint)
    assert aws.resources() == ["stack digits"]


def test_a_change_set_says_what_it_does_line_by_line() -> None:
    def one(name: str, **more: Any) -> dict[str, Any]:
        return {"ResourceChange": {"LogicalResourceId": name, "ResourceType": "AWS::X::Y", **more}}

    details = [
        {"Target": {"Attribute": "Properties", "Name": "Size"}},
        {"Target": {"Attribute": "Tags"}},
    ]
    pages = [
        {"Changes": [one("B", Action="Modify", Replacement="True", Details=details)]},
        {"Changes": [one("A", Action="Add"), one("C", Action="Remove")]},
        {"Changes": [one("D", Action="Modify", Replacement="Conditional")]},
    ]
    assert [str(change) for change in read_changes(pages)] == [
        "+ AWS::X::Y A",
        "± AWS::X::Y B: Size, Tags",
        "- AWS::X::Y C",
        "~ AWS::X::Y D",
    ]
