"""What the local target remembers says what is to run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from modelpack.deploy import DeploymentSpec
from modelpack.deploy.command import Command, Wanted
from modelpack.deploy.memory import Kept, Memory, clash, keep, recall

MakeSpec = Callable[..., DeploymentSpec]
COMMAND = Command(argv=("a", "b"), env={"A": "1"}, cwd="/", secrets={"B": "env:C"}, alone="x")


@pytest.fixture
def kept(make_spec: MakeSpec) -> Kept:
    return Kept(spec=make_spec("a"), command=COMMAND, port=4000)


def test_a_settled_revision_has_its_port(kept: Kept) -> None:
    wanted = Memory(settled=kept).wanted
    assert (wanted.serving, [one.id for one in wanted.groups]) == ("1", ["1"])
    assert (wanted.groups[0].host, wanted.groups[0].port) == ("127.0.0.1", 4000)


def test_a_first_revision_has_nothing_but_its_trial(kept: Kept) -> None:
    memory = Memory(candidate=kept)
    assert memory.is_trial
    assert memory.wanted.serving is None


def test_two_revisions_run_beside_each_other_or_in_turns(kept: Kept) -> None:
    memory = Memory(settled=kept, candidate=replace(kept, group="2"))
    assert memory.next_group == "3"
    assert [(one.id, one.rests) for one in memory.wanted.groups] == [("1", False), ("2", False)]
    in_turns = replace(memory, is_in_turns=True).wanted
    assert [(one.id, one.rests) for one in in_turns.groups] == [("1", True), ("2", False)]
    assert in_turns.is_in_turns
    assert in_turns.serving == "1"


def test_other_numbers_are_no_other_group(kept: Kept, make_spec: MakeSpec) -> None:
    more = replace(kept, spec=make_spec("a", min_replicas=3))
    memory = Memory(settled=kept, candidate=more)
    assert not memory.is_trial
    assert memory.wanted.serving == "1"
    assert [one.fewest for one in memory.wanted.groups] == [3]


def test_two_addresses_of_one_port_are_one_after_the_other(kept: Kept, make_spec: MakeSpec) -> None:
    other = replace(kept, spec=make_spec("a", host="0.0.0.0"), group="2")
    assert [one.id for one in Memory(settled=kept, candidate=other).wanted.groups] == ["2"]
    assert clash(("127.0.0.1", 1), ("0.0.0.0", 1))
    assert not clash(("127.0.0.1", 1), ("127.0.0.1", 1))
    assert not clash(("127.0.0.1", 1), ("0.0.0.0", 2))


def test_the_load_decides_where_it_is_asked_for(kept: Kept, make_spec: MakeSpec) -> None:
    assert kept.wanted().policy is None
    spec = make_spec("a", min_replicas=0, max_replicas=4, idle_s=9)
    group = replace(kept, spec=spec).wanted()
    assert group.policy is not None
    assert (group.policy["min_replicas"], group.policy["idle_s"]) == (0, 9)
    assert (group.fewest, group.most, group.at_least) == (0, 4, 1)


def test_it_survives_the_disk(kept: Kept, make_spec: MakeSpec) -> None:
    scaled = replace(kept, spec=make_spec("b", min_replicas=0), group="2")
    memory = Memory(settled=kept, candidate=scaled, is_in_turns=True)
    keep("digits", "local", memory)
    assert recall("digits", "local") == memory
    assert recall("digits", "docker") == Memory()
    assert Wanted.from_json(json.loads(json.dumps(memory.wanted.to_json()))) == memory.wanted


def test_a_record_of_a_time_without_groups_is_read(kept: Kept) -> None:
    value = kept.to_json()
    del value["group"], value["command"]["alone"]
    assert Kept.from_json(value) == replace(kept, command=replace(COMMAND, alone=""))
    assert Kept.from_json({**value, "port": "x"}) is None
    assert Kept.from_json(None) is None
