"""The local target runs real processes, and believes only what runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from modelpack import paths, testing
from modelpack.deploy import SILENT, Journal, State, Status, locally, records, rollout, room
from modelpack.deploy import command as files
from modelpack.deploy.local import LocalTarget
from modelpack.deploy.memory import recall
from modelpack.deploy.process import ProcessId
from modelpack.deploy.report import read_report
from modelpack.errors import (
    BuildError,
    DeployError,
    DeploymentNotFoundError,
    PortInUseError,
    UsageError,
)
from tests.deploy.conftest import prepare_service


@pytest.fixture(autouse=True)
def _nothing_left(local: LocalTarget) -> Iterator[None]:
    yield
    for status in local.list():
        local.destroy(status.name)


def deploy(target: LocalTarget, spec, **more):
    return rollout.apply_plan(target, rollout.plan_deployment(target, spec), **more)


def wait_for(claim: Callable[[], bool], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


def supervisor(name: str = "digits") -> ProcessId:
    return recall(name, "local").supervisor


def child(name: str = "digits") -> ProcessId:
    """The first replica of the group that has the port."""
    said = read_report(files.folder_of(name))
    return ProcessId.of(said.group(said.serving).replicas[0].child)


@pytest.mark.parametrize("claim", testing.CLAIMS, ids=lambda claim: claim.__name__)
def test_local_keeps_the_contract(claim, local, make_spec, free_port) -> None:
    claim(
        testing.TargetCase(
            target=local,
            spec=make_spec("a", port=free_port),
            changed=make_spec("b", port=free_port, MODE_OF_THINGS="new"),
            broken=make_spec("c", port=free_port, FAKE_MODE="crash"),
            most_kills=1,  # all of them: test_testing
        )
    )


SLEEPY = {"min_replicas": 0, "max_replicas": 2, "idle_s": 0.0, "every_s": 0.5, "window_s": 0.0}


@pytest.mark.long
@pytest.mark.parametrize("claim", testing.CLAIMS, ids=lambda claim: claim.__name__)
def test_local_keeps_the_contract_while_it_sleeps(claim, local, make_spec, free_port) -> None:
    """Whenever it is looked at, it may sleep or be on its way there."""
    claim(
        testing.TargetCase(
            target=local,
            spec=make_spec("a", port=free_port, **SLEEPY),
            changed=make_spec("b", port=free_port, MODE_OF_THINGS="new", **SLEEPY),
            broken=make_spec("c", port=free_port, FAKE_MODE="crash", **SLEEPY),
        )
    )


def test_the_service_gets_its_address_its_tag_and_nothing_of_the_shell(
    local, make_spec, free_port, monkeypatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    url = deploy(local, make_spec(port=free_port, COLOUR="blue")).url

    with urllib.request.urlopen(f"{url}/environ", timeout=10) as answer:
        seen = json.load(answer)

    assert url == f"http://127.0.0.1:{free_port}"
    assert seen["MODELPACK_PORT"] != str(free_port), "a port of its own, where it is probed"
    assert seen["MODELPACK_PORT_GROUP"] == "1/1"
    assert seen["MODELPACK_HOST"] == "127.0.0.1"
    assert seen["MODELPACK_TAG"] == "digits:a"
    assert seen["ORT_DISABLE_TELEMETRY"] == "1"
    assert seen["COLOUR"] == "blue"
    assert Path(seen["MODELPACK_BUNDLE"]).is_relative_to(paths.run_dir())
    assert not {"AWS_SECRET_ACCESS_KEY", "PYTHONPATH", "MODELPACK_HOME"} & seen.keys()


def test_a_free_port_stays_the_same_over_an_update(local, make_spec) -> None:
    first = deploy(local, make_spec("a", port=0))
    second = deploy(local, make_spec("b", port=0))

    assert first.url == second.url
    assert first.revision != second.revision


def test_a_free_port_is_another_one_when_the_former_is_taken(local, make_spec) -> None:
    first = deploy(local, make_spec(port=0))
    supervisor().stop(5)
    port = int(first.url.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        second = deploy(local, make_spec(port=0))

    assert second.state is State.RUNNING
    assert second.url != first.url


def test_limits_are_warned_of_and_change_nothing(local, make_spec) -> None:
    deploy(local, make_spec())
    plan = rollout.plan_deployment(local, make_spec(cpu=2, memory_bytes=2**30))

    assert plan.is_empty
    assert len(plan.warnings) == 2


def test_a_taken_port_is_said_before_anything_is_changed(local, make_spec) -> None:
    deploy(local, make_spec("a"))
    before = child()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        spec = make_spec("b", port=other.getsockname()[1])
        with pytest.raises(PortInUseError, match="cannot be used"):
            deploy(local, spec)

    assert child() == before
    assert local.status("digits").state is State.RUNNING


def test_a_bundle_that_cannot_be_made_ready_leaves_the_former_one_running(local, make_spec) -> None:
    def fail(*_: object) -> None:
        raise BuildError("no environment")

    deploy(local, make_spec("a"))
    before = child()
    with pytest.raises(BuildError):
        deploy(LocalTarget(fail), make_spec("b"))

    assert child() == before


def test_a_first_one_that_cannot_be_made_ready_leaves_nothing(make_spec) -> None:
    def fail(*_: object) -> None:
        raise BuildError("no environment")

    with pytest.raises(BuildError):
        deploy(LocalTarget(fail), make_spec())

    assert [path.name for path in paths.home_dir().rglob("*") if path.is_file()] == []
    assert not files.folder_of("digits").exists()


def test_an_update_removes_the_bundle_before_it(local, make_spec) -> None:
    for version in ("a", "b", "c"):
        deploy(local, make_spec(version))

    kept = [path.name for path in files.folder_of("digits").iterdir() if path.is_dir()]
    assert kept == [make_spec("c").digest.replace(":", "-")]


def test_a_failed_update_keeps_the_bundle_that_runs(local, make_spec) -> None:
    deploy(local, make_spec("a"))
    with pytest.raises(DeployError):
        deploy(local, make_spec("b", FAKE_MODE="crash"))

    kept = [path.name for path in files.folder_of("digits").iterdir() if path.is_dir()]
    assert kept == [make_spec("a").digest.replace(":", "-")]


def test_a_killed_supervisor_is_seen_and_put_right(local, make_spec) -> None:
    deploy(local, make_spec())
    service = child()
    os.kill(supervisor().pid, signal.SIGKILL)
    wait_for(lambda: not service.is_alive)

    assert local.status("digits").state is State.FAILED
    plan = rollout.plan_deployment(local, make_spec())
    assert [change.action for change in plan.changes] == ["update"]
    assert rollout.apply_plan(local, plan).state is State.RUNNING


def test_a_killed_service_comes_back_by_itself(local, make_spec) -> None:
    deploy(local, make_spec())
    before = child()
    os.kill(before.pid, signal.SIGKILL)

    wait_for(lambda: local.status("digits").restarts == 1)
    wait_for(lambda: local.status("digits").state is State.RUNNING)

    assert child() != before


def test_a_process_id_that_was_given_to_another_is_not_believed(local, make_spec) -> None:
    """After a reboot the same number may be anybody's process."""
    deploy(local, make_spec())
    real = supervisor()
    record = records.read("digits")
    me = {"pid": os.getpid(), "started": 1, "boot": "another"}
    records.write(
        records.Record(name="digits", target="local", details={**record.details, "supervisor": me})
    )
    try:
        assert local.status("digits").state is State.STOPPED
        local.destroy("digits")
        assert ProcessId.of(os.getpid()).is_alive
    finally:
        real.stop(5)


def test_a_deploy_that_was_killed_before_it_was_settled_is_finished_by_the_next(
    local, make_spec
) -> None:
    deploy(local, make_spec("a"))
    plan = rollout.plan_deployment(local, make_spec("b"))
    local.apply(plan, Journal(), SILENT)  # and here the command line is killed

    again = rollout.plan_deployment(local, make_spec("b"))

    assert [change.after for change in again.changes] == [{"checked": "yes"}]
    assert rollout.apply_plan(local, again).bundle == "digits:b"
    assert rollout.plan_deployment(local, make_spec("b")).is_empty


def test_a_supervisor_that_nobody_wrote_down_is_found(local, make_spec) -> None:
    """The command line was killed between starting it and remembering it."""
    deploy(local, make_spec())
    record = records.read("digits")
    real = supervisor()
    details = {key: value for key, value in record.details.items() if key != "supervisor"}
    records.write(records.Record(name="digits", target="local", details=details))

    assert supervisor() == real
    local.destroy("digits")
    assert not real.is_alive


def test_destroy_leaves_no_process_and_no_file(local, make_spec) -> None:
    deploy(local, make_spec(FAKE_MODE="family"))
    processes = [supervisor(), child()]
    printed = next(line for line in local.logs("digits") if line.startswith("child "))
    processes.append(ProcessId.of(int(printed.split()[1])))

    local.destroy("digits")

    assert not any(process.is_alive for process in processes)
    assert [path for path in paths.home_dir().rglob("*") if path.is_file()] == []


def test_files_that_went_missing_are_made_again(local, make_spec) -> None:
    deploy(local, make_spec())
    supervisor().stop(5)
    shutil.rmtree(files.folder_of("digits"))

    assert deploy(local, make_spec()).state is State.RUNNING


def test_following_the_log_ends_with_the_deployment(local, make_spec) -> None:
    deploy(local, make_spec())
    lines = local.logs("digits", follow=True)
    assert next(lines) == "this is digits:a"

    supervisor().stop(10)

    assert all(line.startswith("asked for") for line in lines)


def test_a_deaf_service_is_unhealthy_once_it_had_its_time(local, make_spec) -> None:
    local.apply(
        local.plan(spec := make_spec(FAKE_MODE="deaf"), local.read_live(spec)), Journal(), SILENT
    )
    assert local.status("digits").state is State.STARTING
    local.destroy("digits")

    spec = make_spec(FAKE_MODE="deaf", ready_timeout_s=0.01)
    local.apply(local.plan(spec, local.read_live(spec)), Journal(), SILENT)
    wait_for(lambda: local.status("digits").state is State.UNHEALTHY)


def test_files_are_private(local, make_spec) -> None:
    deploy(local, make_spec())

    for path in paths.home_dir().rglob("*"):
        if path.is_file():
            assert path.stat().st_mode & 0o077 == 0, path
    assert files.folder_of("digits").stat().st_mode & 0o077 == 0


def test_nothing_is_there_at_first(local) -> None:
    assert local.list() == []
    assert local.status("digits").state is State.ABSENT
    for act in (local.destroy, local.logs):
        with pytest.raises(DeploymentNotFoundError):
            act("digits")
    assert not paths.run_dir().exists()


def test_a_secret_reaches_the_service_and_no_file(local, make_spec, monkeypatch, tmp_path) -> None:
    """Also after it ended by itself: its supervisor reads it again at every start."""
    monkeypatch.setenv("GIVEN_TOKEN", "s3cret-one")
    key = tmp_path / "key"
    key.write_text("s3cret-two\n")
    spec = make_spec(secrets={"TOKEN": "env:GIVEN_TOKEN", "KEY": f"file:{key}"})
    plan = rollout.plan_deployment(local, spec)

    url = rollout.apply_plan(local, plan).url
    with urllib.request.urlopen(f"{url}/environ", timeout=10) as answer:
        seen = json.load(answer)

    assert (seen["TOKEN"], seen["KEY"]) == ("s3cret-one", "s3cret-two")
    files = [one for one in paths.home_dir().rglob("*") if one.is_file()]
    assert any(one.name == "wanted.json" for one in files)
    assert not [one for one in files if b"s3cret" in one.read_bytes()]
    local.destroy(spec.name)


def test_a_secret_that_is_not_there_stops_nothing_that_runs(local, make_spec) -> None:
    rollout.apply_plan(local, rollout.plan_deployment(local, make_spec()))
    plan = rollout.plan_deployment(local, make_spec("b", secrets={"TOKEN": "env:NOT_THERE"}))

    with pytest.raises(UsageError, match=r"deploy\.secrets\.TOKEN: the variable 'NOT_THERE'"):
        rollout.apply_plan(local, plan)

    assert local.status("digits").bundle == "digits:a"
    local.destroy("digits")


# --- two revisions -------------------------------------------------------------------------------


def apply_only(target: LocalTarget, spec) -> Status:
    """Start a revision as ``rollout`` does, and wait until it is ready; it is on trial then."""
    target.apply(target.plan(spec, target.read_live(spec)), Journal(), SILENT)
    wait_for(lambda: target.status(spec.name).state is State.RUNNING)
    return target.status(spec.name)


def tag_at(url: str) -> str:
    with urllib.request.urlopen(f"{url}/environ", timeout=10) as answer:
        return json.load(answer)["MODELPACK_TAG"]


def test_the_former_revision_answers_until_the_new_one_is_settled(local, make_spec) -> None:
    url = deploy(local, make_spec("a")).url

    trial = apply_only(local, make_spec("b"))

    assert tag_at(url) == "digits:a"
    assert trial.url != url
    assert tag_at(trial.url) == "digits:b"
    assert trial.meanwhile == (
        f"revision '{make_spec('a').revision}' (digits:a) is running at {url}"
    )
    assert next(iter(local.logs("digits"))) == "this is digits:b"
    local.settle("digits")
    assert tag_at(url) == "digits:b"
    assert local.status("digits").url == url


def test_a_first_revision_has_nobody_at_its_port_while_it_is_on_trial(
    local, make_spec, free_port
) -> None:
    apply_only(local, make_spec("a", port=free_port))
    assert local.status("digits").url != f"http://127.0.0.1:{free_port}"
    with socket.create_connection(("127.0.0.1", free_port), timeout=60) as waiting:
        waiting.sendall(b"GET /environ HTTP/1.0\r\n\r\n")
        local.settle("digits")
        assert waiting.recv(12) == b"HTTP/1.1 200"


def test_a_deployment_moves_to_another_port(local, make_spec, free_port) -> None:
    former = deploy(local, make_spec("a")).url
    assert deploy(local, make_spec("a", port=free_port)).url == f"http://127.0.0.1:{free_port}"
    with pytest.raises(OSError, match="refused"):
        tag_at(former)


def test_a_deployment_moves_to_another_address_of_its_port_and_back(
    local, make_spec, free_port
) -> None:
    """Nobody can listen at both, so the former revision gives way, and comes back when it must."""
    deploy(local, make_spec("a", port=free_port))
    with pytest.raises(DeployError):
        deploy(local, make_spec("b", port=free_port, host="0.0.0.0", FAKE_MODE="crash"))
    assert tag_at(f"http://127.0.0.1:{free_port}") == "digits:a"

    deploy(local, make_spec("b", port=free_port, host="0.0.0.0"))
    assert tag_at(f"http://127.0.0.1:{free_port}") == "digits:b"
    deploy(local, make_spec("c", port=free_port))
    assert local.status("digits").url == f"http://127.0.0.1:{free_port}"


def test_who_follows_the_log_sees_the_next_revision_too(local, make_spec) -> None:
    deploy(local, make_spec("a"))
    lines = local.logs("digits", follow=True)
    assert next(lines) == "this is digits:a"
    deploy(local, make_spec("b"))
    assert "this is digits:b" in (line for line in lines)
    lines.close()


def test_what_does_not_take_the_port_is_not_settled_and_can_be_taken_back(
    local, make_spec, monkeypatch
) -> None:
    url = deploy(local, make_spec("a")).url
    apply_only(local, make_spec("b", FAKE_MODE="aloof"))
    monkeypatch.setattr(locally, "SWITCH_S", 0.3)

    with pytest.raises(DeployError, match="'digits' does not take requests at its port"):
        local.settle("digits")

    assert tag_at(url) == "digits:a"
    assert local.status("digits").bundle == "digits:b", "it is on trial as before"
    local.revert("digits")
    assert local.status("digits").bundle == "digits:a"
    assert tag_at(url) == "digits:a"


def test_an_address_of_another_machine_changes_nothing(local, make_spec, free_port) -> None:
    deploy(local, make_spec("a", port=free_port))
    before = child()
    with pytest.raises(UsageError, match=r"'203.0.113.7' cannot be listened at"):
        deploy(local, make_spec("b", port=free_port, host="203.0.113.7"))
    assert child() == before


def test_what_has_a_port_of_its_own_runs_in_turns_and_requests_wait(
    make_spec, free_port, notes
) -> None:
    """gRPC and metrics have ports that a second process cannot have."""

    def prepare(*given) -> files.Command:
        return replace(prepare_service(*given), alone="grpc_port 3001")

    target = LocalTarget(prepare)
    deploy(target, make_spec("a", port=free_port))
    former = child()
    plan = rollout.plan_deployment(target, make_spec("b", port=free_port))
    target.apply(plan, Journal(), notes)

    wait_for(lambda: target.status("digits").state is State.RUNNING)

    assert not former.is_alive
    said = "only one at a time can have grpc_port 3001: the former revision ends first"
    assert [line for line in notes.lines if line.startswith(said)]
    with socket.create_connection(("127.0.0.1", free_port), timeout=60) as waiting:
        waiting.sendall(b"GET /environ HTTP/1.0\r\n\r\n")
        target.revert("digits")
        assert waiting.recv(12) == b"HTTP/1.1 200"
    assert tag_at(f"http://127.0.0.1:{free_port}") == "digits:a"
    deploy(target, make_spec("b", port=free_port))
    with pytest.raises(UsageError, match="two replicas cannot both have grpc_port 3001"):
        deploy(target, make_spec("b", port=free_port, min_replicas=2))
    assert target.status("digits").state is State.RUNNING


def test_without_memory_for_both_the_former_revision_ends_first(
    local, make_spec, monkeypatch, notes
) -> None:
    deploy(local, make_spec("a"))
    monkeypatch.setattr(room, "free_memory", lambda: 1_000_000)

    deploy(local, make_spec("b"), progress=notes)

    [said] = [line for line in notes.lines if "ends first" in line]
    assert " MB more are needed for both, and 1 MB are free: the former revision" in said
    assert local.status("digits").bundle == "digits:b"


def test_one_that_never_asks_for_the_port_is_taken_back(local, make_spec, monkeypatch) -> None:
    """As a server of an older modelpack would."""
    monkeypatch.setattr("modelpack.deploy.local._JOIN_S", 0.5)
    url = deploy(local, make_spec("a")).url
    with pytest.raises(DeployError, match="'digits' does not ask for its port") as caught:
        deploy(local, make_spec("b", FAKE_MODE="aloof"))

    assert "its bundle may hold an older modelpack" in caught.value.hint
    assert tag_at(url) == "digits:a"


def test_a_variable_that_a_new_revision_needs_reaches_it(local, make_spec, monkeypatch) -> None:
    """The supervisor was started before the variable was set."""
    deploy(local, make_spec("a"))
    monkeypatch.setenv("GIVEN_LATER", "s3cret")
    url = deploy(local, make_spec("b", secrets={"TOKEN": "env:GIVEN_LATER"})).url

    os.kill(child().pid, signal.SIGKILL)
    wait_for(lambda: local.status("digits").restarts == 1)
    wait_for(lambda: local.status("digits").state is State.RUNNING)

    with urllib.request.urlopen(f"{url}/environ", timeout=10) as answer:
        assert json.load(answer)["TOKEN"] == "s3cret"


def test_a_supervisor_that_does_not_answer_gives_way_to_another(local, make_spec) -> None:
    deploy(local, make_spec("a"))
    former = supervisor()
    (files.folder_of("digits") / files.ORDERS_FILE).unlink()

    deploy(local, make_spec("b"))

    assert not former.is_alive
    assert local.status("digits").bundle == "digits:b"


def test_of_a_supervisor_that_says_nothing_the_service_itself_is_asked(local, make_spec) -> None:
    """One of an older modelpack runs on after an update of modelpack."""
    deploy(local, make_spec("a"))
    (files.folder_of("digits") / "state.json").unlink()

    assert local.status("digits").state is State.RUNNING
    assert rollout.plan_deployment(local, make_spec("a")).is_empty


def test_a_home_with_a_long_path_will_do(make_spec, local, monkeypatch, tmp_path) -> None:
    """The address of a socket has room for 107 bytes."""
    home = tmp_path / ("h" * 100) / ("o" * 100)
    monkeypatch.setenv("MODELPACK_HOME", str(home))
    deploy(local, make_spec("a"))
    assert deploy(local, make_spec("b")).state is State.RUNNING


def test_replicas_are_ready_when_all_of_them_are(local, make_spec) -> None:
    deploy(local, make_spec("a", min_replicas=2))
    with pytest.raises(DeployError, match="0 of 3 replicas are ready"):
        deploy(local, make_spec("b", min_replicas=3, FAKE_MODE="deaf", ready_timeout_s=1.0))
    assert local.status("digits").bundle == "digits:a"
    assert local.status("digits").replicas is None, "their number is fixed"
