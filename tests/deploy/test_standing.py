"""What a platform holds is told in the same words by every target that keeps its state there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Self

import pytest

from modelpack.deploy import (
    Clock,
    DeploymentSpec,
    DeploySettings,
    Journal,
    Live,
    Past,
    Plan,
    Progress,
    Replicas,
    Revision,
    Sight,
    StandingTarget,
    State,
    Status,
    await_running,
    refuse_others,
    revisions,
)
from modelpack.errors import ConflictError, DeployError, DeploymentNotFoundError


@dataclass(frozen=True)
class Ship:
    spec: DeploymentSpec | None
    sight: Sight
    past: tuple[Past, ...] | None = ()


@dataclass(frozen=True, slots=True)
class Harbour(StandingTarget[Ship]):
    """Tells of ships; changes nothing."""

    name: ClassVar[str] = "harbour"
    ships: Mapping[str, Ship] = field(default_factory=dict)

    def find(self, name: str) -> Ship | None:
        return self.ships.get(name)

    def look(self, standing: Ship) -> Sight:
        return standing.sight

    def now(self, standing: Ship) -> DeploymentSpec | None:
        return standing.spec

    def past(self, standing: Ship) -> Iterable[Past] | None:
        return standing.past

    def names(self) -> Iterable[str]:
        return [*self.ships, *self.ships]

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Self:
        raise NotImplementedError

    def read_live(self, spec: DeploymentSpec) -> Live:
        raise NotImplementedError

    def plan(self, spec: DeploymentSpec, live: Live) -> Plan:
        raise NotImplementedError

    def apply(self, plan: Plan, journal: Journal, progress: Progress) -> Revision:
        raise NotImplementedError

    def settle(self, name: str) -> None:
        raise NotImplementedError

    def revert(self, name: str) -> None:
        raise NotImplementedError

    def destroy(self, name: str) -> None:
        raise NotImplementedError

    def logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> Iterator[str]:
        raise NotImplementedError


A = DeploymentSpec(
    name="digits", bundle="digits:1", digest="sha256:" + "0" * 64, settings=DeploySettings()
)
B = replace(A, bundle="digits:2")
SEEN = Sight(
    state=State.RUNNING,
    url="http://digits",
    since="2026-03-01T10:00:00Z",
    restarts=2,
    detail="slow",
    meanwhile="another one",
    replicas=Replicas(awake=1, wanted=1, most=3),
)


def harbour(**ships: Ship) -> Harbour:
    return Harbour(ships)


def test_the_status_is_what_was_seen_of_what_was_applied() -> None:
    assert harbour(digits=Ship(A, SEEN)).status("digits") == Status(
        name="digits",
        target="harbour",
        state=State.RUNNING,
        bundle="digits:1",
        revision=A.revision,
        url="http://digits",
        since="2026-03-01T10:00:00Z",
        restarts=2,
        detail="slow",
        meanwhile="another one",
        replicas=Replicas(awake=1, wanted=1, most=3),
    )


def test_nothing_is_absent_and_what_cannot_be_read_has_no_bundle() -> None:
    assert harbour().status("digits").state is State.ABSENT
    found = harbour(digits=Ship(None, Sight(state=State.FAILED))).status("digits")
    assert (found.state, found.bundle, found.revision) == (State.FAILED, None, None)


def test_the_history_is_what_was_healthy_with_its_specs() -> None:
    past = (Past(spec=A, since="2026-03-01T10:00:00Z"), Past(spec=B, note="a canary"))
    first, second = harbour(digits=Ship(B, SEEN, past)).history("digits")
    assert (first.spec, first.id, first.since) == (A, A.revision, "2026-03-01T10:00:00Z")
    assert (second.spec, second.bundle, second.note) == (B, "digits:2", "a canary")
    assert first.target == "harbour"
    assert harbour().history("digits") == ()


def test_where_the_platform_does_not_remember_the_history_is_that_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELPACK_HOME", str(tmp_path))
    revisions.keep(A, "harbour")
    (only,) = harbour(digits=Ship(A, SEEN, None)).history("digits")
    assert (only.spec, only.target) == (A, "harbour")
    assert harbour(digits=Ship(A, SEEN, ())).history("digits") == ()


def test_what_was_applied_last_is_current() -> None:
    assert harbour(digits=Ship(B, SEEN)).current("digits") == B
    assert harbour().current("digits") is None


def test_the_list_is_by_name_and_each_stands_once() -> None:
    gone = Ship(None, Sight(state=State.ABSENT))
    found = harbour(zeta=Ship(A, SEEN), alpha=Ship(B, SEEN), gone=gone).list()
    assert [one.name for one in found] == ["alpha", "zeta"]


def test_what_is_required_is_there_or_said_not_to_be() -> None:
    ship = Ship(A, SEEN)
    assert harbour(digits=ship).require("digits") is ship
    with pytest.raises(DeploymentNotFoundError) as raised:
        harbour().require("digits")
    assert str(raised.value) == "no deployment 'digits' at target 'harbour'"
    assert raised.value.hint == "run 'modelpack deployments list' to see them"


def test_what_somebody_else_made_is_refused() -> None:
    refuse_others("stack 'x'", "digits", "digits", target="aws", made_by="aws")
    refuse_others("stack 'x'", "digits", "digits")
    with pytest.raises(ConflictError, match="the stack 'x' was not made by modelpack"):
        refuse_others("stack 'x'", "digits", None)
    with pytest.raises(ConflictError, match="not made by modelpack"):
        refuse_others("stack 'x'", "digits", "letters", target="aws", made_by="aws")
    with pytest.raises(ConflictError, match="'digits' stands at target 'aws-ecs'"):
        refuse_others("stack 'x'", "digits", "digits", target="aws", made_by="aws-ecs")


class Waits:
    """Time that passes by waiting alone."""

    def __init__(self, *seen: Sight) -> None:
        self.seen, self.now, self.waited = list(seen), 0.0, [0.0]

    def look(self) -> Sight:
        return self.seen.pop(0) if len(self.seen) > 1 else self.seen[0]

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.waited.append(seconds)

    def clock(self) -> Clock:
        return Clock(now=lambda: self.now, sleep=self.sleep)


STARTING = Sight(state=State.STARTING, detail="0 of 1 replicas")


def test_it_is_waited_for_until_it_runs() -> None:
    waits = Waits(STARTING, Sight(state=State.UNHEALTHY), SEEN)
    assert await_running("digits", waits.look, waits.clock(), timeout_s=60, poll_s=5) is SEEN
    assert waits.now == 10


def test_what_has_failed_is_not_waited_for() -> None:
    waits = Waits(STARTING, Sight(state=State.FAILED, detail="exit 3"), SEEN)
    with pytest.raises(DeployError, match="'digits' does not run: exit 3"):
        await_running("digits", waits.look, waits.clock(), timeout_s=60)


def test_what_does_not_come_up_in_time_is_an_error_with_what_to_do() -> None:
    waits = Waits(STARTING)
    with pytest.raises(DeployError, match="did not come up: 0 of 1 replicas") as raised:
        await_running("digits", waits.look, waits.clock(), timeout_s=9, hint="see its log")
    assert raised.value.hint == "see its log"
    assert waits.now == 9


def test_whereabouts_are_the_options_that_say_where() -> None:
    """Two of one name and the same whereabouts hold the same deployments."""

    class Fixed(Harbour):
        __slots__ = ()
        options = {"dock": "east", "base": "slim"}

    class East(Fixed):
        __slots__ = ()
        where = ("dock",)

    assert Fixed({}).whereabouts == {"dock": "east", "base": "slim"}
    assert East({}).whereabouts == {"dock": "east"}
