"""A local deploy whose process is ended by SIGKILL: the next one ends right, and nothing is left.

The contract tries each point of the journal in this process; here a process ends for good, at such
points and at any moment at all.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from modelpack import paths
from modelpack.deploy import DeploymentSpec, State, rollout
from modelpack.deploy.journal import interrupted
from modelpack.deploy.local import LocalTarget

APPLY = """
import importlib.util, json, sys
from modelpack.deploy import DeploymentSpec, rollout
from modelpack.deploy.journal import open_journal
from modelpack.deploy.local import LocalTarget
from modelpack.testing import killing
where = importlib.util.spec_from_file_location("parts", sys.argv[1])
parts = importlib.util.module_from_spec(where)
where.loader.exec_module(parts)
target = LocalTarget(parts.prepare_service)
spec = DeploymentSpec.from_json(json.loads(sys.argv[2]))
begin = killing(int(sys.argv[3])) if len(sys.argv) > 3 else open_journal
rollout.apply_plan(target, rollout.plan_deployment(target, spec), begin=begin)
"""


def apply_elsewhere(spec: DeploymentSpec, *more: str) -> subprocess.Popen[bytes]:
    conftest = str(Path(__file__).with_name("conftest.py"))
    return subprocess.Popen([sys.executable, "-c", APPLY, conftest, spec.canonical(), *more])


def services() -> list[int]:
    """Return the processes that run from the folders of local deployments."""
    folder = str(paths.run_dir())
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str((entry / "cwd").readlink()).startswith(folder):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def settle_down(local: LocalTarget, spec: DeploymentSpec) -> None:
    """Deploy what was cut short again, and see that it runs alone; then destroy it."""
    status = rollout.apply_plan(local, rollout.plan_deployment(local, spec))
    assert status.state is State.RUNNING
    assert status.revision == rollout.plan_deployment(local, spec).spec.revision
    assert rollout.plan_deployment(local, spec).is_empty
    assert interrupted(spec.name) is None
    deadline = time.monotonic() + 10
    while len(services()) > 2 and time.monotonic() < deadline:
        time.sleep(0.1)  # a launcher that was left behind ends when it sees the other one
    assert len(services()) == 2, [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in services()]
    folders = [
        path for path in (paths.run_dir() / "deployments" / spec.name).iterdir() if path.is_dir()
    ]
    assert len(folders) == 1, "one unpacked bundle"
    local.destroy(spec.name)
    assert services() == []
    assert [path for path in paths.home_dir().rglob("*") if path.is_file()] == []


def tried(points: range) -> list[object]:
    """Return all points; a sample of them is tried each time."""
    return [p if p == 1 else pytest.param(p, marks=pytest.mark.long) for p in points]


@pytest.mark.parametrize("point", tried(range(6)))
def test_an_update_that_was_killed_at_a_step_is_finished_by_the_next(
    local: LocalTarget, make_spec: Callable[..., DeploymentSpec], free_port: int, point: int
) -> None:
    rollout.apply_plan(local, rollout.plan_deployment(local, make_spec("a", port=free_port)))
    killed = apply_elsewhere(make_spec("b", port=free_port), str(point))
    assert killed.wait(60) == -signal.SIGKILL
    assert interrupted("digits") is not None
    settle_down(local, make_spec("b", port=free_port))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(12))
def test_an_update_that_was_killed_at_any_moment_is_finished_by_the_next(
    local: LocalTarget, make_spec: Callable[..., DeploymentSpec], free_port: int, seed: int
) -> None:
    chance = random.Random(seed)
    rollout.apply_plan(local, rollout.plan_deployment(local, make_spec("a", port=free_port)))
    process = apply_elsewhere(make_spec("b", port=free_port))
    time.sleep(chance.uniform(0.2, 2.0))
    process.kill()
    process.wait(60)
    settle_down(local, make_spec(chance.choice("ab"), port=free_port))
