"""Faults at single calls of a stand-in are tried, and what a target makes of them is judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from modelpack.cli.scaffold import make_plugin
from modelpack.deploy import DeploySettings
from modelpack.errors import UnreachableError
from modelpack.testing import (
    Fault,
    Hours,
    TargetCase,
    TargetContractError,
    comes_through_a_fault,
    fault_at_every,
    spec_of,
)


class Faulty:
    """A platform whose calls are counted, and may be refused, or done and their answers lost."""

    def __init__(self, platform: Any) -> None:
        self.platform = platform
        self.calls: list[str] = []
        self.fault: Any = lambda _: None

    def app(self, name: str) -> Any:
        return self._call("app", name)

    def names(self) -> Any:
        return self._call("names")

    def run(self, name: str, notes: Mapping[str, str]) -> None:
        self._call("run", name, notes)

    def write_notes(self, name: str, notes: Mapping[str, str]) -> None:
        self._call("write_notes", name, notes)

    def remove(self, name: str) -> None:
        self._call("remove", name)

    def _call(self, word: str, *arguments: Any) -> Any:
        self.calls.append(word)
        kind = self.fault(word)
        if kind == "refused":
            raise UnreachableError(f"cannot {word}")
        done = getattr(self.platform, word)(*arguments)
        if kind == "lost":
            raise UnreachableError(f"no answer to {word}")
        return done


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Give the module of a plugin as ``plugin new`` writes it."""
    import importlib
    import sys

    make_plugin(tmp_path / "plugin", "faulty-cloud")
    monkeypatch.syspath_prepend(tmp_path / "plugin" / "src")
    monkeypatch.setenv("MODELPACK_HOME", str(tmp_path / "home"))
    yield importlib.import_module("modelpack_faulty_cloud.target")
    for name in [one for one in sys.modules if one.startswith("modelpack_faulty_cloud")]:
        del sys.modules[name]


def case_of(kind: Any, platform: Faulty, folder: Path) -> TargetCase:
    return TargetCase(
        target=kind(platform, str(folder)),
        spec=spec_of("a"),
        changed=spec_of("b", cpu=2.0),
        broken=spec_of("c"),
        resources=platform.platform.names,
    )


@pytest.mark.parametrize("is_update", [False, True], ids=["first", "update"])
def test_a_good_target_comes_through_faults(plugin: Any, tmp_path: Path, is_update: bool) -> None:
    platform = Faulty(plugin.FolderPlatform(tmp_path / "apps"))
    case = case_of(plugin.FaultyCloudTarget, platform, tmp_path)
    looked: list[bool] = []
    hit = fault_at_every(
        case, platform, every=2, is_update=is_update, look=lambda: looked.append(True)
    )
    assert hit
    assert hit <= {"app", "run", "write_notes"}
    assert looked


def test_a_target_that_does_not_go_back_is_found_out(plugin: Any, tmp_path: Path) -> None:
    class Stubborn(plugin.FaultyCloudTarget):  # type: ignore[misc]
        __slots__ = ()

        def revert(self, name: str) -> None:
            self.platform.remove(name)

    platform = Faulty(plugin.FolderPlatform(tmp_path / "apps"))
    case = case_of(Stubborn, platform, tmp_path)
    with pytest.raises(TargetContractError, match="nothing runs after 'refused' at call"):
        fault_at_every(case, platform)


def test_a_target_that_leaves_something_is_found_out(plugin: Any, tmp_path: Path) -> None:
    class Messy(plugin.FaultyCloudTarget):  # type: ignore[misc]
        __slots__ = ()

        def destroy(self, name: str) -> None:
            self.platform.run("rest", {"spec": spec_of("a").canonical(), "checked": "yes"})
            super().destroy(name)

    platform = Faulty(plugin.FolderPlatform(tmp_path / "apps"))
    case = case_of(Messy, platform, tmp_path)
    with pytest.raises(TargetContractError, match="left"):
        comes_through_a_fault(case, platform, Fault(1, "lost"))


def test_a_deploy_that_makes_more_calls_than_are_tried_is_said(plugin: Any, tmp_path: Path) -> None:
    platform = Faulty(plugin.FolderPlatform(tmp_path / "apps"))
    case = case_of(plugin.FaultyCloudTarget, platform, tmp_path)
    with pytest.raises(TargetContractError, match="more than the 3 calls that are tried"):
        fault_at_every(case, platform, most=3)


def test_a_fault_that_comes_too_late_is_none(plugin: Any, tmp_path: Path) -> None:
    platform = Faulty(plugin.FolderPlatform(tmp_path / "apps"))
    case = case_of(plugin.FaultyCloudTarget, platform, tmp_path)
    assert comes_through_a_fault(case, platform, Fault(1000, "lost")) is None


def test_one_fault_is_one_call() -> None:
    fault = Fault(2, "lost")
    assert [fault("a"), fault("b"), fault("c")] == [None, "lost", None]
    assert fault.calls == 3


def test_hours_pass_by_waiting_alone() -> None:
    hours = Hours()
    clock = hours.clock()
    clock.sleep(7200.0)
    assert clock.now() == 7200.0


def test_specs_differ_by_version_and_take_settings_and_variables() -> None:
    one, other = spec_of("a"), spec_of("b", cpu=2.0, FAKE_MODE="crash")
    assert one.digest != other.digest
    assert (other.bundle, other.settings.cpu) == ("digits:b", 2.0)
    assert other.settings == DeploySettings(
        cpu=2.0, env={"FAKE_MODE": "crash"}, ready_timeout_s=5.0
    )
