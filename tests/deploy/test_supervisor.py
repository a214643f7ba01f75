"""The supervisor keeps a process running and leaves none behind.

Every test starts a real supervisor, as the local target does, over a small program.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from pathlib import Path

import pytest

from modelpack.deploy import command as files
from modelpack.deploy import records
from modelpack.deploy.command import Command
from modelpack.deploy.launch import launch
from modelpack.deploy.ports import listen
from modelpack.deploy.process import ProcessId
from modelpack.deploy.replicas import LONGEST_DELAY_S, STABLE_AFTER_S, BackOff
from modelpack.errors import DeployError
from tests.deploy.supervised import FAMILY, POLITE, SLEEP, STUBBORN, wait_for


def test_it_runs_in_a_session_of_its_own_and_holds_nothing_of_ours(run) -> None:
    it = run(SLEEP)

    assert os.getsid(it.supervisor.pid) == it.supervisor.pid != os.getsid(0)
    for handle in (0, 1, 2):
        assert str(Path(f"/proc/{it.supervisor.pid}/fd/{handle}").readlink()) == os.devnull


def test_the_child_sees_only_the_environment_of_the_command(run, monkeypatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    it = run("import json, os, time; print(json.dumps(dict(os.environ)), flush=True)")

    wait_for(lambda: "\n" in it.log)
    seen = json.loads(it.log.splitlines()[0])
    assert "AWS_SECRET_ACCESS_KEY" not in seen
    own = {"MODELPACK_PORT", "MODELPACK_PORT_GROUP", "MODELPACK_PORT_KEEPER"}
    assert set(seen) - {"LC_CTYPE"} == {"PATH", *own}


def test_what_it_writes_is_private(run) -> None:
    it = run(SLEEP)
    wait_for(lambda: "up" in it.log)

    for file in it.folder.iterdir():
        assert not stat.S_IMODE(file.stat().st_mode) & 0o077, file
    assert (it.folder / files.ORDERS_FILE).is_socket()


def test_a_child_that_ends_is_started_again(run) -> None:
    it = run(SLEEP)
    first = it.child()
    os.kill(first.pid, signal.SIGKILL)

    wait_for(lambda: it.state.child not in (None, first.pid))

    assert it.state.restarts == 1
    assert ProcessId.of(it.state.child).is_alive
    assert '"event": "service-ended", "detail": "killed by signal 9"' in it.log


def test_each_end_makes_the_wait_longer(run) -> None:
    it = run("print('again', flush=True); raise SystemExit(3)")

    def delays() -> list[float]:
        whole = it.log.rpartition("\n")[0].splitlines()
        return [json.loads(line)["again_in_s"] for line in whole if line.startswith("{")]

    wait_for(lambda: len(delays()) >= 3)

    assert delays()[:3] == [0.5, 1.0, 2.0]
    wait_for(lambda: it.state.failures >= 3)
    assert it.state.detail == "exit 3"


def test_the_back_off_has_a_limit_and_starts_anew_after_a_long_life() -> None:
    back_off = BackOff()
    delays = [back_off.next_delay_s(0) for _ in range(40)]

    assert delays[:4] == [0.5, 1.0, 2.0, 4.0]
    assert max(delays) == delays[-1] == LONGEST_DELAY_S
    assert back_off.next_delay_s(STABLE_AFTER_S) == 0.5


def test_a_program_that_is_not_there_is_said(run) -> None:
    missing = Command(argv=("/no/such/program",), env={}, cwd="/")
    it = run(SLEEP, command=missing)

    wait_for(lambda: it.state is not None and it.state.phase == "waiting")

    assert it.state.detail == "cannot be started: No such file or directory"


def test_sigterm_lets_the_child_end_by_itself(run) -> None:
    it = run(POLITE)
    wait_for(lambda: "up" in it.log)
    child = it.child()

    it.supervisor.stop(10)

    assert not child.is_alive
    assert not it.supervisor.is_alive
    assert it.log.splitlines() == ["up", "bye"]
    assert it.report.is_over


def test_a_child_that_does_not_listen_is_killed_after_its_grace(run) -> None:
    it = run(STUBBORN, grace_s=0.3)
    wait_for(lambda: "up" in it.log)
    child = it.child()

    it.supervisor.stop(10)

    assert not child.is_alive
    assert it.report.is_over


def test_sigterm_during_a_back_off_ends_it_at_once(run) -> None:
    it = run("raise SystemExit(1)")
    wait_for(lambda: it.state is not None and it.state.phase == "waiting")
    began = time.monotonic()

    it.supervisor.stop(10)

    assert time.monotonic() - began < 5
    assert it.report.is_over


def test_a_killed_supervisor_takes_its_child_along(run) -> None:
    it = run(STUBBORN)
    child = it.child()

    os.kill(it.supervisor.pid, signal.SIGKILL)

    wait_for(lambda: not child.is_alive, within_s=5)


def test_what_the_child_started_goes_with_it(run) -> None:
    it = run(FAMILY)
    wait_for(lambda: "\n" in it.log)
    grandchild = ProcessId.of(int(it.log.splitlines()[0]))
    assert grandchild.is_alive

    os.kill(it.child().pid, signal.SIGKILL)

    wait_for(lambda: not grandchild.is_alive, within_s=5)


def test_a_child_that_closes_its_output_lives_on(run) -> None:
    it = run("import os, time; print('up', flush=True); os.close(1); os.close(2); time.sleep(600)")
    wait_for(lambda: "up" in it.log)
    child = it.child()

    ticks = _cpu_ticks(it.supervisor.pid)
    time.sleep(0.5)

    assert child.is_alive
    assert it.state.restarts == 0
    assert _cpu_ticks(it.supervisor.pid) - ticks < 10, "it spins"


def test_two_supervisors_never_share_a_deployment(run) -> None:
    it = run(SLEEP)
    child = it.child()

    with pytest.raises(DeployError, match="another supervisor is in charge"):
        launch("digits", it.folder)

    assert child.is_alive


def test_a_supervisor_without_a_command_says_why_it_did_not_start() -> None:
    folder = records.make_private(files.folder_of("digits"))
    with pytest.raises(DeployError, match=r"did not start: FileNotFoundError.*wanted\.json"):
        launch("digits", folder)


def test_nothing_that_the_child_says_is_lost(run) -> None:
    it = run("print('x' * 1000, flush=True); " * 200 + "import time; time.sleep(600)")
    wait_for(lambda: it.log.count("\n") == 200)


def test_a_port_that_is_taken_is_said(run) -> None:
    it = run(SLEEP)
    it.supervisor.stop(5)
    with (
        listen("127.0.0.1", it.port),
        pytest.raises(DeployError, match=f"did not start: port {it.port} of"),
    ):
        launch("digits", it.folder)


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
