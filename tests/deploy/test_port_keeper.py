"""The keeper of a port: what is said to it and what it says, the replicas being lines alone."""

from __future__ import annotations

import json
import resource
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from modelpack.deploy import port_keeper
from modelpack.deploy.autoscale.asked import policy_words
from modelpack.deploy.autoscale.policy import Policy
from modelpack.deploy.keeping.members import SLOTS
from tests.server.life.conftest import keeper, wait_until
from tests.server.life.kept import QUICK, Keeper, Member

__all__ = ["keeper"]

POLICY = Policy(min_replicas=0, max_replicas=3, in_flight=2, **QUICK)


class Sleeper:
    """Process 1 of a container that is only a line to the keeper."""

    def __init__(self, keeper: Keeper, name: str, state: str = "asleep") -> None:
        self.line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.line.settimeout(10)
        self.line.connect(str(keeper.path))
        self.say(f"sleeps a {name} {state} {policy_words(POLICY, 1.0)}")

    def say(self, words: str) -> None:
        self.line.send(words.encode())

    def hear(self) -> str:
        return self.line.recv(100).decode()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def member(keeper: Keeper, stack: ExitStack) -> Callable[[str], Member]:
    def begin(group: str) -> Member:
        made = Member(keeper, group)
        stack.enter_context(made.line)
        return made

    return begin


@pytest.fixture
def sleeper(keeper: Keeper, stack: ExitStack) -> Callable[..., Sleeper]:
    def begin(name: str, state: str = "asleep") -> Sleeper:
        made = Sleeper(keeper, name, state)
        stack.enter_context(made.line)
        return made

    return begin


def is_over(line: socket.socket) -> bool:
    """Return whether the keeper has let go of a line."""
    try:
        return line.recv(4096) == b""
    except ConnectionResetError:
        return True


def test_the_loads_of_servers_bring_more_and_are_forgotten_with_them(
    keeper, member, sleeper
) -> None:
    sleepers = [sleeper(str(number)) for number in (1, 2, 3)]
    keeper.ask("wake", "a", 1)
    assert sleepers[0].hear() == "start"
    sleepers[0].say("awake")
    first = member("a 1")
    assert (first.hear(), sleepers[0].hear()) == ("accept", "ready")

    first.say("load 9 100")
    assert (sleepers[1].hear(), sleepers[2].hear()) == ("start", "start")
    assert keeper.scaled("a")["in_flight"] == 9

    first.line.close()
    wait_until(lambda: keeper.scaled("a")["in_flight"] == 0)


def test_a_group_on_trial_has_as_many_as_the_one_that_has_the_port(
    keeper, member, sleeper, stack
) -> None:
    keeper.ask("hold", "a")
    keeper.ask("scale", "a", policy_words(POLICY, 1.0))
    keeper.ask("wake", "a", 2)
    assert keeper.ask("wake", "b", 1)["done"] is False, "nobody of it has come yet"
    keeper.ask("scale", "b", policy_words(POLICY, 1.0))
    assert keeper.scaled("b")["wanted"] == 0

    assert keeper.ask("wake", "b", 1)["done"] is True
    assert keeper.scaled("b")["wanted"] == 2

    for number in (1, 2):
        one = member(f"b {number}")
        stack.enter_context(one.line)
    asking = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    asking.settimeout(10)
    asking.connect(str(keeper.path))
    asking.send(b"switch b 0 30")
    wait_until(lambda: keeper.ask("status")["joined"] == {"b": 2})
    assert keeper.ask("status")["allowed"] == ["a"], (
        "they were told, and have not said that they do"
    )


def test_the_port_goes_to_a_group_that_sleeps_at_once(keeper) -> None:
    keeper.ask("hold", "a")
    keeper.ask("scale", "b", policy_words(POLICY, 1.0))

    said = keeper.ask("switch", "b", 1, 10)

    assert (said["done"], said["allowed"]) == (True, ["b"])


def test_who_connects_wakes_one_and_the_switch_to_its_group_does_not_wait(
    keeper, sleeper, stack
) -> None:
    one = sleeper("1")
    keeper.ask("hold", "a")
    wait_until(lambda: keeper.scaled("a").get("places") == 1)
    stack.enter_context(socket.create_connection(keeper.address))

    assert one.hear() == "start"
    assert keeper.ask("status")["queue"] == 1


def test_other_limits_count_at_once(keeper, sleeper) -> None:
    sleepers = [sleeper(str(number)) for number in (1, 2, 3)]
    keeper.ask("hold", "a")
    wait_until(lambda: keeper.scaled("a").get("places") == 3)
    more = Policy(min_replicas=2, max_replicas=3, **QUICK)

    keeper.ask("scale", "a", policy_words(more, 2.0))

    assert [one.hear() for one in sleepers[:2]] == ["start", "start"]
    assert keeper.scaled("a")["min"] == 2


def test_a_keeper_that_starts_again_knows_how_many_were_wanted(keeper, sleeper) -> None:
    first, second = sleeper("1"), sleeper("2")
    keeper.ask("hold", "a")
    wait_until(lambda: keeper.scaled("a").get("places") == 2)
    keeper.ask("wake", "a", 2)
    assert (first.hear(), second.hear()) == ("start", "start")

    keeper.stop(signal.SIGKILL)
    keeper.start()

    assert keeper.scaled("a")["wanted"] == 2
    assert sleeper("1").hear() == "start", "it says that it sleeps, and was wanted"


def test_a_keeper_without_memory_believes_those_who_are_awake(keeper, sleeper) -> None:
    keeper.stop(signal.SIGKILL)
    keeper.path.with_suffix(".json").unlink(missing_ok=True)
    keeper.start()
    sleeper("1", "awake"), sleeper("2", "awake")

    wait_until(lambda: keeper.scaled("a").get("wanted") == 2)


@pytest.mark.parametrize("text", ['["a"]', '{"allowed":["a"],"scaling":{}}'])
def test_what_an_older_keeper_wrote_is_understood(keeper, text) -> None:
    keeper.stop()
    keeper.path.with_suffix(".json").write_text(text)
    keeper.start()

    assert keeper.ask("status")["allowed"] == ["a"]


def test_a_file_that_cannot_be_read_is_as_none(keeper) -> None:
    for text in ("", "{", "null", '{"allowed":3}', '{"allowed":null}', "[[1]]"):
        keeper.stop()
        keeper.path.with_suffix(".json").write_text(text)
        keeper.start()

        assert keeper.ask("status")["allowed"] is None, text


def test_without_room_to_write_it_down_everything_goes_on(keeper) -> None:
    keeper.path.with_suffix(".next").mkdir()
    assert keeper.ask("hold", "a")["allowed"] == ["a"]

    keeper.path.with_suffix(".next").rmdir()
    assert keeper.ask("status")["allowed"] == ["a"]
    assert json.loads(keeper.path.with_suffix(".json").read_bytes())["allowed"] == ["a"]


def test_it_may_have_as_many_descriptors_as_there_are(keeper) -> None:
    keeper.stop()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[0]), before[1]))
    try:
        keeper.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    assert resource.prlimit(keeper.process.pid, resource.RLIMIT_NOFILE) == (before[1], before[1])


NONSENSE = [
    b"sleeps",
    b"sleeps a 1 asleep",
    b"sleeps a 1 asleep 1 {}} more",
    b"sleeps a 1 dreaming 1 {}",
    b"sleeps a 1 asleep soon {}",
    b"sleeps a 1 asleep 1 {",
    b"sleeps a 1 asleep 1 []",
    b'sleeps a 1 asleep 1 {"min_replicas":-1}',
    b'sleeps a 1 asleep 1 {"max_replicas":"x"}',
    b'sleeps a 1 asleep 1 {"in_flight":NaN}',
    b'sleeps a 1 asleep nan {"in_flight":1}',
    b"wake a",
    b"wake a many",
    b"scale a",
    b"scale a 1 null",
    b"switch b 1 nan",
    b"\xff\xfe",
    b"   ",
]


def test_what_makes_no_sense_ends_that_line_and_nothing_else(keeper, sleeper) -> None:
    for said in NONSENSE:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
            line.settimeout(10)
            line.connect(str(keeper.path))
            line.send(said)
            assert is_over(line), said

    sleeper("1")
    wait_until(lambda: keeper.scaled("a").get("places") == 1)
    assert keeper.stop() == 0


def test_a_server_that_makes_no_sense_is_let_go(keeper, member) -> None:
    for said in ("load", "load x 1", "load -1 2", "load 1", "load 1 -2"):
        one = member("a 1")
        assert one.hear() == "accept"
        one.say(said)
        assert is_over(one.line), said

    assert keeper.ask("status")["joined"] == {}


def test_words_of_a_newer_modelpack_are_passed_over(keeper, member, sleeper) -> None:
    one, other = member("a 1"), sleeper("1")
    one.say("dances 3")
    other.say("dances 3")
    said = keeper.ask("dances")

    assert said["done"] is False
    assert (said["joined"], said["scaling"]["a"]["places"]) == ({"a": 1}, 1)


def test_a_pool_of_another_kind_lets_servers_retire(tmp_path, stack) -> None:
    """In the process of somebody else, as the supervisor of the target ``local`` has it."""
    listener = stack.enter_context(port_keeper.listen(("127.0.0.1", 0)))
    here = port_keeper.Keeper(listener, tmp_path / "kept.json", say=lambda _: None)
    here.open(tmp_path / "kept.sock")
    one = Member(Keeper(tmp_path / "kept.sock"), "a 1")
    stack.callback(lambda: [key.fileobj.close() for key in list(here.selector.get_map().values())])
    stack.enter_context(one.line)

    def turn_until(is_so: Callable[[], bool]) -> None:
        def turned() -> bool:
            for key, _ in here.selector.select(min(here.tick() or 0.05, 0.05)):
                key.data()
            return is_so()

        wait_until(turned)

    def heard() -> str:
        turn_until(lambda: bool(select.select([one.line], [], [], 0)[0]))
        return one.hear()

    assert heard() == "accept"
    turn_until(lambda: here.status()["accepting"] == {"a": 1})
    one.say("load 1 5")
    here.retiring.add(("a", "1"))
    assert heard() == "pause"
    turn_until(lambda: here.status()["accepting"] == {"a": 0})
    assert not here.members.is_quiet("a", "1"), "it has something to do"

    one.say("load 0 6")
    turn_until(lambda: here.members.is_quiet("a", "1"))
    here.retiring.clear()
    assert heard() == "accept", "it is wanted again"


def test_more_processes_than_there_are_shared_counts_for_accept_all_the_same(
    keeper, member
) -> None:
    members = [member(f"a {number}") for number in range(SLOTS + 3)]
    slots = [int(one.hear_all().split()[1]) for one in members]

    assert sorted(slots) == [-1, -1, -1, *range(SLOTS)]
    members[0].line.close()
    wait_until(lambda: keeper.ask("status")["joined"] == {"a": SLOTS + 2})
    assert member("a again").hear_all() == "accept 0", "the count of who left is free again"


def test_while_all_sleep_the_keeper_sleeps_too(keeper, sleeper) -> None:
    """It does not run once in a whole second; awake it looks four times."""
    sleeper("1")
    wait_until(lambda: keeper.scaled("a").get("places") == 1)
    assert keeper.process is not None
    status = Path(f"/proc/{keeper.process.pid}/status")

    def runs() -> str:
        lines = status.read_text().splitlines()
        return next(line for line in lines if line.startswith("voluntary"))

    def is_still() -> bool:
        before = runs()
        time.sleep(1.0)  # what is measured, not what is waited for
        return runs() == before

    wait_until(is_still)


def test_what_is_written_down_is_one_file_that_is_whole(keeper) -> None:
    keeper.ask("hold", "a", "b")
    keeper.ask("scale", "a", policy_words(POLICY, 1.0))

    said = json.loads(keeper.path.with_suffix(".json").read_bytes())

    assert said["allowed"] == ["a", "b"]
    assert said["scaling"]["a"]["policy"] == POLICY.to_json()
    assert not keeper.path.with_suffix(".next").exists()
