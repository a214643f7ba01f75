"""What the doctor finds, and what it says to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack.cli import doctor
from modelpack.cli.doctor import CHECKS, Finding
from modelpack.store import Entry, Store

Cli = Callable[..., Any]


def findings(done: Any) -> dict[str, dict[str, str]]:
    return {one["name"]: one for one in json.loads(done.out)}


def test_sound_machine_has_a_line_a_check_and_exits_with_0(cli: Cli, bundle: Entry) -> None:
    done = cli("doctor")
    assert done.status == 0, done.out
    lines = [line for line in done.out.splitlines() if "help:" not in line]
    assert len(lines) == len(CHECKS)
    assert {line.split()[0] for line in lines} <= {"ok", "warn"}
    assert "bundles: 1, models: 0" in done.out


def test_missing_engine_is_a_warning_since_most_works_without(cli: Cli) -> None:
    done = cli("doctor", "-o", "json", env={"DOCKER_HOST": "unix:///nowhere/docker.sock"})
    engine = findings(done)["engine"]
    assert (done.status, engine["verdict"]) == (0, "warn")
    assert "containerize" in engine["what"]
    assert engine["help"]


def test_home_that_cannot_be_made_fails_and_names_the_variable(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = cli("doctor", "-o", "json", env={"MODELPACK_HOME": str(tmp_path / "file" / "home")})
    home = findings(done)["home"]
    assert (done.status, home["verdict"]) == (1, "fail")
    assert "MODELPACK_HOME" in home["help"]


def test_damaged_store_fails_with_the_tag(cli: Cli, bundle: Entry) -> None:
    manifest = Store().root / "blobs" / "sha256" / bundle.digest.removeprefix("sha256:")
    manifest.chmod(0o644)
    manifest.write_bytes(b"{}")

    done = cli("doctor", "-o", "json")

    store = findings(done)["store"]
    assert (done.status, store["verdict"]) == (1, "fail")
    assert "hello:1" in store["what"]


def test_full_disk_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_LOW_DISK_BYTES", 10**18)
    assert doctor.check_home().verdict == "warn"


def test_missing_library_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError

    def without_uvloop(name: str) -> str:
        if name == "uvloop":
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(doctor, "version", without_uvloop)
    finding = doctor.check_libraries()
    assert (finding.verdict, finding.what) == ("fail", "missing: uvloop")


def test_check_that_breaks_is_a_finding_and_stops_nothing_else() -> None:
    def check_moon() -> Finding:
        raise RuntimeError("full")

    finding = doctor._safely(check_moon)
    assert (finding.name, finding.verdict) == ("moon", "fail")
    assert "RuntimeError: full" in finding.what
