"""A journal says what an apply has begun and done, whenever that apply was killed."""

from __future__ import annotations

import stat
from collections.abc import Callable

import pytest

from modelpack import paths
from modelpack.deploy import DeploymentSpec, Plan
from modelpack.deploy.journal import Journal, interrupted, open_journal


class Killed(BaseException):
    """Stands in for SIGKILL: nobody catches it and nobody cleans up."""


def killed() -> None:
    raise Killed


@pytest.fixture
def plan(make_spec: Callable[..., DeploymentSpec]) -> Plan:
    return Plan(target="place", spec=make_spec())


def cut_short(plan: Plan) -> Journal:
    """Do one step, and be killed in the middle of the next."""
    journal = open_journal(plan)
    journal.step("create/a", lambda: {"id": "a-1"})
    with pytest.raises(Killed):
        journal.step("create/b", killed)
    return journal


def test_a_step_is_on_disk_before_it_is_taken(plan: Plan) -> None:
    journal = open_journal(plan)
    seen = []

    def do() -> None:
        found = interrupted("digits")
        seen.append(found and (found.begun, dict(found.done)))

    journal.step("create/a", do)

    assert seen == [(("create/a",), {})]
    found = interrupted("digits")
    assert found is not None
    assert (found.begun, found.done) == (("create/a",), {"create/a": None})


def test_a_journal_that_was_closed_is_gone(plan: Plan) -> None:
    journal = open_journal(plan)
    journal.step("create/a", lambda: None)
    journal.close()
    assert interrupted("digits") is None
    assert list(paths.deployments_dir().iterdir()) == []


def test_the_next_apply_knows_where_the_last_one_was_killed(plan: Plan) -> None:
    cut_short(plan)
    found = interrupted("digits")
    assert found is not None
    assert (found.target, found.revision, found.plan) == (
        "place",
        plan.spec.revision,
        plan.digest,
    )
    assert found.last == "create/b"
    assert found.begun == ("create/a", "create/b")
    assert found.done == {"create/a": {"id": "a-1"}}


def test_the_same_revision_takes_it_up_with_results_and_tokens(plan: Plan) -> None:
    first = cut_short(plan)
    second = open_journal(plan)
    assert second.is_resumed
    assert second.recall("create/a") == {"id": "a-1"}
    assert second.recall("create/b") is None
    assert second.token("create/a") == first.token("create/a") != first.token("create/b")
    assert second.leftovers == ("create/a", "create/b")


def test_another_revision_begins_anew_and_knows_what_may_be_left(plan: Plan, make_spec) -> None:
    first = cut_short(plan)
    second = open_journal(Plan(target="place", spec=make_spec("b")))
    assert not second.is_resumed
    assert second.recall("create/a") is None
    assert second.token("create/a") != first.token("create/a")
    assert second.leftovers == ("create/a", "create/b")


def test_what_may_be_left_stays_known_when_others_are_killed_too(plan: Plan, make_spec) -> None:
    cut_short(plan)
    for version in ("b", "c"):
        with pytest.raises(Killed):
            other = open_journal(Plan(target="place", spec=make_spec(version)))
            other.step(f"create/{version}2", killed)
    last = open_journal(Plan(target="place", spec=make_spec("c")))
    assert last.leftovers == ("create/a", "create/b", "create/b2", "create/c2")
    assert last.is_resumed
    last.close()
    assert open_journal(plan).leftovers == ()


def test_results_stay_known_when_it_is_killed_a_second_time(plan: Plan) -> None:
    cut_short(plan)
    with pytest.raises(Killed):
        open_journal(plan).step("create/c", killed)
    third = open_journal(plan)
    assert third.recall("create/a") == {"id": "a-1"}
    assert third.leftovers == ("create/a", "create/b", "create/c")


def test_a_step_is_taken_again_unless_it_is_marked_once(plan: Plan) -> None:
    cut_short(plan)
    taken = []
    second = open_journal(plan)
    assert second.step("create/a", lambda: taken.append("a"), once=True) == {"id": "a-1"}
    second.step("create/a", lambda: taken.append("again"))
    second.step("create/b", lambda: taken.append("b"), once=True)
    assert taken == ["again", "b"]


@pytest.mark.parametrize("cut", range(1, 35))
def test_a_line_that_was_half_written_is_no_line(plan: Plan, cut: int) -> None:
    journal = cut_short(plan)
    assert journal.file is not None
    whole = journal.file.read_bytes()
    journal.file.write_bytes(whole[:-cut])
    found = interrupted("digits")
    assert found is not None
    assert found.done["create/a"] == {"id": "a-1"}


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]\n", b"\xff\n", b"null\n"])
def test_a_damaged_journal_is_none(plan: Plan, damage: bytes) -> None:
    journal = open_journal(plan)
    assert journal.file is not None
    journal.file.write_bytes(damage)
    assert interrupted("digits") is None
    assert not open_journal(plan).is_resumed


def test_only_its_owner_may_read_it(plan: Plan) -> None:
    journal = open_journal(plan)
    assert journal.file is not None
    assert stat.S_IMODE(journal.file.stat().st_mode) == 0o600


def test_a_journal_without_a_file_writes_nothing() -> None:
    assert Journal().step("create/a", lambda: {"id": 1}) == {"id": 1}
    assert not paths.deployments_dir().exists()
