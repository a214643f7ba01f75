"""The contract suite finds what is wrong with a target, and needs no pytest for it."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from modelpack import paths, testing
from modelpack.cli.scaffold import make_plugin
from modelpack.deploy import State
from modelpack.deploy.local import LocalTarget
from modelpack.errors import TagError
from modelpack.testing import TargetCase, TargetContractError, target_contract


def everything_local() -> list[str]:
    """Name the files of local deployments, and the processes that run from their folders."""
    files = [str(path) for path in paths.home_dir().rglob("*") if path.is_file()]
    folder = str(paths.run_dir())
    running = [pid for pid in Path("/proc").iterdir() if pid.name.isdigit() and folder in _cwd(pid)]
    # The times of starts are in the logs and states; that there is one of each is what counts.
    return [re.sub(r"sha256-[0-9a-f]+", "sha256", file) for file in files] + [
        f"process {number}" for number, _ in enumerate(running)
    ]


def _cwd(pid: Path) -> str:
    try:
        return str((pid / "cwd").readlink())
    except OSError:
        return ""


@pytest.fixture
def make_case(local, make_spec, free_port) -> Callable[[type[LocalTarget]], TargetCase]:
    def make(kind: type[LocalTarget]) -> TargetCase:
        return TargetCase(
            target=kind(local.prepare),
            spec=make_spec("a", port=free_port),
            changed=make_spec("b", port=free_port),
            broken=make_spec("c", port=free_port, FAKE_MODE="crash"),
            resources=everything_local,
            most_kills=2,
        )

    return make


def test_a_good_target_keeps_the_whole_contract(
    make_spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target is the one that a new plugin begins with; every kill is tried."""
    make_plugin(tmp_path / "plugin", "my-cloud")
    monkeypatch.syspath_prepend(tmp_path / "plugin" / "src")
    from modelpack_my_cloud import MyCloudTarget
    from modelpack_my_cloud.platform import FolderPlatform

    class Moody(FolderPlatform):
        def state_of(self, notes):
            return "crashed" if "FAKE_MODE" in notes["spec"] else "up"

    platform = Moody(tmp_path / "apps")
    target_contract(
        TargetCase(
            target=MyCloudTarget(platform, str(platform.folder)),
            spec=make_spec("a"),
            changed=make_spec("b"),
            broken=make_spec("c", FAKE_MODE="crash", ready_timeout_s=1.0),
            resources=platform.names,
        )
    )


@pytest.mark.long
def test_a_good_target_may_be_killed_anywhere(make_case) -> None:
    case = replace(make_case(LocalTarget), most_kills=None)
    for claim in testing.KILLS:
        claim(case)


class Fickle(LocalTarget):
    counter = itertools.count()

    def plan(self, spec, live):
        return replace(super().plan(spec, live), warnings=(str(next(self.counter)),))


class Eager(LocalTarget):
    def plan(self, spec, live):
        plan = super().plan(spec, live)
        change = plan.changes[0]
        again = replace(change, action="create" if live.is_absent else "update")
        return replace(plan, changes=(again,))


class Silent(LocalTarget):
    def logs(self, name, *, follow=False, tail=None):
        list(super().logs(name, tail=1))
        return iter(())


class Ragged(LocalTarget):
    def logs(self, name, *, follow=False, tail=None):
        return iter(line + "\n" for line in super().logs(name, tail=tail))


class Secretive(LocalTarget):
    def plan(self, spec, live):
        plan = super().plan(spec, live)
        changes = tuple(replace(change, before={}) for change in plan.changes)
        return replace(plan, changes=changes)


class Stubborn(LocalTarget):
    def revert(self, name) -> None:
        pass


class Hasty(LocalTarget):
    def apply(self, plan, journal, progress):
        revision = super().apply(plan, journal, progress)
        self.settle(plan.spec.name)
        return revision


class Careless(LocalTarget):
    def destroy(self, name) -> None:
        if self.status(name).state is not State.ABSENT:
            super().destroy(name)


class Trusting(LocalTarget):
    def status(self, name):
        try:
            return super().status(name)
        except TagError:
            return super().status("digits")


class Permissive(LocalTarget):
    @classmethod
    def from_options(cls, options):
        return cls()


class Forgetful(LocalTarget):
    def list(self):
        return []


@pytest.mark.parametrize(
    ("flawed", "claim"),
    [
        (Fickle, testing.plans_without_changing_anything),
        (Eager, testing.applies_only_once),
        (Silent, testing.gives_the_lines_of_the_log),
        (Ragged, testing.gives_the_lines_of_the_log),
        (Secretive, testing.shows_what_an_update_changes),
        (Stubborn, testing.returns_to_the_former_revision),
        (Hasty, testing.keeps_both_until_it_is_told),
        (Careless, testing.destroys_without_a_trace),
        (Trusting, testing.refuses_what_is_no_name),
        (Permissive, testing.refuses_unknown_options),
        (Forgetful, testing.runs_what_was_applied),
    ],
)
def test_a_flaw_is_found_by_the_claim_that_is_about_it(make_case, local, flawed, claim) -> None:
    case = make_case(flawed)
    try:
        with pytest.raises(TargetContractError):
            claim(case)
    finally:
        if local.status("digits").state is not State.ABSENT:
            local.destroy("digits")


def test_the_failure_names_the_claim(make_case) -> None:
    with pytest.raises(TargetContractError, match="plans_without_asking: planning"):
        target_contract(make_case(Fickle))


def test_a_deployment_that_is_there_already_is_left_alone(make_case, local, make_spec) -> None:
    from modelpack.deploy import rollout

    rollout.apply_plan(local, rollout.plan_deployment(local, make_spec("a")))
    try:
        with pytest.raises(TargetContractError, match="is there already"):
            testing.runs_what_was_applied(make_case(LocalTarget))
        assert local.status("digits").state is State.RUNNING
    finally:
        local.destroy("digits")


def test_the_suite_imports_no_test_framework() -> None:
    program = "import sys, modelpack.testing; print({'pytest', 'docker'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
