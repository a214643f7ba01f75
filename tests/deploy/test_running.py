"""Groups of replicas under one supervisor: how many there are, and how one follows another.

Every test starts a real supervisor, as the local target does, over a small program.
"""

from __future__ import annotations

import socket

import pytest

from modelpack.deploy import command as files
from modelpack.deploy import orders
from tests.deploy.supervised import SLEEP, STUBBORN, wait_for


def test_there_are_as_many_replicas_as_are_wanted_and_the_first_stay(run) -> None:
    it = run(SLEEP, fewest=3, most=3)
    wait_for(lambda: len(it.children()) == 3)
    before = it.children()

    it.want(it.group("1", SLEEP), serving="1")
    assert it.order("load", environ={}) == {"done": True}
    wait_for(lambda: it.children() == before[:1])


def test_of_several_replicas_each_line_says_who_wrote_it(run) -> None:
    it = run(
        "import os, time; print('a', flush=True); print('b', end='', flush=True)", fewest=2, most=2
    )
    wait_for(lambda: it.log.count('"service-ended"') >= 2)

    lines = it.log.splitlines()
    assert {"1 | a", "2 | a", "1 | b", "2 | b"} <= set(lines)
    ended = [line.partition(" | ")[0] for line in lines if "service-ended" in line]
    assert {"1", "2"} == set(ended)


def test_each_replica_has_a_port_of_its_own_that_it_keeps(run) -> None:
    """Nobody else is given it while the process is away."""
    it = run(
        "import os, socket, time; socket.create_server(('127.0.0.1', int(os.environ['MODELPACK_PORT'])));"
        " print('up', flush=True)",
        fewest=2,
        most=2,
    )
    wait_for(lambda: it.log.count("| up") >= 4)

    ports = {one.port for one in it.of("1").replicas}
    assert len(ports) == 2
    assert it.port not in ports
    assert "Address already in use" not in it.log


# --- another group -------------------------------------------------------------------------------

TAKES = """
import os, socket, sys, time
line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
line.connect(os.environ["MODELPACK_PORT_KEEPER"])
line.send(("join " + os.environ["MODELPACK_PORT_GROUP"].replace("/", " ")).encode())
while True:
    data, found, _, _ = socket.recv_fds(line, 4096, 2)
    if not data:
        sys.exit("the keeper has gone")
    word = data.split()[0].decode()
    print(word, flush=True)
    line.send({"accept": b"accepting", "pause": b"paused"}[word])
"""


def test_a_group_on_trial_runs_beside_and_gets_the_port_when_it_is_told(run) -> None:
    it = run(TAKES)
    wait_for(lambda: "accept" in it.log)
    first, second = it.group("1", TAKES), it.group("2", TAKES)
    it.want(first, second, serving="1")
    it.order("load", environ={})
    wait_for(lambda: it.of("2") is not None and it.of("2").joined == 1)
    assert "accept" not in (it.folder / files.TRIAL_LOG_FILE).read_text()
    former = it.child()

    it.want(second, serving="2")
    it.order("load", environ={})

    assert it.order("await", what="switched", within_s=30)["done"]
    assert it.order("await", what="alone", within_s=30)["done"]
    assert not former.is_alive
    assert [one.id for one in it.report.groups] == ["2"]
    assert it.log.startswith("accept")
    assert (it.folder / files.FORMER_LOG_FILE).read_text().startswith("accept")


def test_the_group_that_serves_goes_on_while_the_next_one_does_not_take_the_port(run) -> None:
    it = run(TAKES)
    former = it.child()
    it.want(it.group("2", SLEEP), serving="2")
    it.order("load", environ={})

    assert not it.order("await", what="switched", within_s=0.5)["done"]

    assert former.is_alive
    it.want(it.group("1", TAKES), serving="1")
    it.order("load", environ={})
    assert it.order("await", what="alone", within_s=30)["done"]
    assert former.is_alive
    assert it.of("2") is None


def test_in_turns_two_groups_never_have_processes_at_once(run) -> None:
    it = run(STUBBORN, grace_s=0.5)
    wait_for(lambda: "up" in it.log)
    former = it.child()
    resting = it.group("1", STUBBORN, grace_s=0.5, rests=True)
    it.want(resting, it.group("2", SLEEP), serving="1", is_in_turns=True)
    it.order("load", environ={})

    wait_for(lambda: bool(it.children("2")))

    assert not former.is_alive
    it.want(it.group("1", SLEEP), serving="1", is_in_turns=True)
    it.order("load", environ={})
    wait_for(lambda: bool(it.children("1")))
    assert it.of("2") is None


@pytest.mark.parametrize(
    "said", [b"{}\n", b"nonsense\n", b"[]\n", b'{"order": "await"}\n', b"\xff\n"]
)
def test_what_is_no_order_is_hung_up_on_and_changes_nothing(run, said: bytes) -> None:
    it = run(SLEEP)
    child = it.child()
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(30)
        with orders.short_path(it.folder / files.ORDERS_FILE) as path:
            line.connect(path)
        line.sendall(said)
        assert line.recv(100) == b""

    assert it.order("load", environ={})["done"]
    assert it.child() == child


def test_a_description_that_cannot_be_read_changes_nothing(run) -> None:
    it = run(SLEEP)
    child = it.child()
    (it.folder / "wanted.json").write_text("{")

    answer = it.order("load", environ={})

    assert not answer["done"]
    assert "cannot be read" in answer["why"]
    assert it.child() == child
