"""Rows of the threat model about deployments: values stay values, and files stay private."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelpack.cli.main import main
from modelpack.deploy import DeploymentSpec, DeploySettings, Target, planning, rollout
from modelpack.deploy.launch import service_env
from modelpack.deploy.local import LocalTarget

HOSTILE = [
    "$(touch /owned)",
    "`id`",
    "; reboot #",
    "a' b\" c",
    "@{name} ${HOME} {{ 7 * 7 }} %(x)s",
    "!Sub ${AWS::AccountId}",
    "{'Ref': 'x'}",
    "null",
    "--privileged",
    "\u202egnp.exe",
    "x" * 4000,
]
UNTYPABLE = ["a\nb", "a\x00b", "\x1b[2J", "a\rb", "\x7f"]


@pytest.fixture
def home(memory: Path, monkeypatch: pytest.MonkeyPatch, shelf: Any) -> Path:
    """A home with the bundle ``digits:1`` in its store, and a folder of one's own."""
    monkeypatch.setenv("MODELPACK_HOME", str(memory))
    monkeypatch.setenv("MODELPACK_CACHE", str(memory / "cache"))
    shelf.bundle(models=[shelf.model()])
    (memory / "here").mkdir()
    monkeypatch.chdir(memory / "here")
    return memory


def spec(**settings: Any) -> DeploymentSpec:
    return DeploymentSpec(
        name="digits",
        bundle="digits:1",
        digest="sha256:" + "0" * 64,
        settings=DeploySettings(**settings),
    )


# --- S7 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", HOSTILE)
def test_s07_a_value_is_a_value_in_all_that_is_made_of_it(value: str, memory: Path) -> None:
    wanted = spec(env={"GREETING": value})
    sent = json.loads(Target.render(LocalTarget(), wanted).files["deployment.json"])
    assert sent["settings"]["env"] == {"GREETING": value}
    (unit,) = rollout.render(LocalTarget(), wanted).files.values()
    (line,) = [line for line in unit.decode().splitlines() if "GREETING" in line]
    assert read_by_systemd(line.removeprefix("Environment=")) == f"GREETING={value}"
    plan = planning.plan_deployment(LocalTarget(), wanted, offline=True)
    assert plan.changes[0].after["env.GREETING"] == value
    assert service_env(wanted, 3000, memory)["GREETING"] == value
    assert DeploymentSpec.from_json(json.loads(wanted.canonical())) == wanted


@pytest.mark.parametrize("value", HOSTILE)
def test_s07_a_plan_of_such_a_value_is_one_line_a_fact(value: str) -> None:
    """What is shown to a person cannot pretend to be another line, or steer the terminal."""
    plan = planning.plan_deployment(LocalTarget(), spec(env={"A": value}), offline=True)
    plain = planning.plan_deployment(LocalTarget(), spec(env={"A": "b"}), offline=True)
    assert len(plan.describe().splitlines()) == len(plain.describe().splitlines())
    assert all(line.isprintable() for line in plan.describe().splitlines())


@pytest.mark.parametrize("value", UNTYPABLE)
@pytest.mark.parametrize("field", ["env", "labels", "secrets"])
def test_s07_control_characters_are_in_no_value(field: str, value: str) -> None:
    with pytest.raises(ValueError, match=rf"^{field}\.A: ") as caught:
        DeploySettings(**{field: {"A": value}})
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["A=B", "A B", "1A", "A\n", "", "LD-PRELOAD", "$A"])
@pytest.mark.parametrize("field", ["env", "secrets"])
def test_s07_what_is_no_variable_is_refused(field: str, name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{field}: not a variable name"):
        DeploySettings(**{field: {name: "env:A"}})


def read_by_systemd(word: str) -> str:
    """Read a word as systemd.syntax(7) and the specifiers of systemd.unit(5) say."""
    if word.startswith('"'):
        word = re.sub(r"\\(.)", r"\1", word.removeprefix('"').removesuffix('"'))
    assert not re.search(r"(?<!%)(?:%%)*%(?!%)", word), "a specifier is left"
    return word.replace("%%", "%")


# --- S20 -----------------------------------------------------------------------------------------


@pytest.fixture(params=[0o000, 0o077], ids=["umask 000", "umask 077"])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_s20_a_kept_plan_is_private_and_nothing_is_left_beside_it(
    umask: int, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["deploy", "digits:1", "-t", "local", "--save", "x.plan"]) == 0
    assert stat.S_IMODE(Path("x.plan").stat().st_mode) == 0o600
    assert main(["deploy", "digits:1", "-t", "local", "--save", "no/such/folder/x.plan"]) == 1
    assert "error[deploy-failed]" in capfd.readouterr().err
    assert [file.name for file in Path().iterdir()] == ["x.plan"]
    assert not (home / "deployments").exists()


def test_s20_a_link_in_the_place_of_a_kept_plan_is_replaced_and_not_followed(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (home / "precious").write_text("kept")
    Path("x.plan").symlink_to(home / "precious")
    assert main(["deploy", "digits:1", "-t", "local", "--save", "x.plan"]) == 0
    assert (home / "precious").read_text() == "kept"
    assert not Path("x.plan").is_symlink()
    capfd.readouterr()


# --- S22 -----------------------------------------------------------------------------------------

FLAGS = ["--name", "--region", "--mode", "--instance", "--host", "--option", "--target"]
DASHED = ["-v/:/host", "--endpoint-url=http://127.0.0.1"]


def test_s22_a_value_that_looks_like_a_flag_is_refused(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for flag in FLAGS:
        for value in DASHED:
            status = main(["deploy", "digits:1", "--target", "local", f"{flag}={value}", "--plan"])
            refused_well(status, capfd)


def test_s22_a_name_of_a_deployment_is_a_name(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for command in ("status", "logs", "history", "rollback", "destroy"):
        for name in ("--all", "../x", "$(id)"):
            refused_well(main(["deployments", command, "--", name]), capfd)


def refused_well(status: int, capfd: pytest.CaptureFixture[str]) -> None:
    done = capfd.readouterr()
    assert status in (2, 3), done.err
    lines = done.err.splitlines()
    assert lines[0].startswith("error[")
    assert len(lines) <= 4
    assert done.out == ""


def test_s22_no_shell_is_started_by_a_deployment() -> None:
    import modelpack.deploy

    folder = Path(modelpack.deploy.__file__).parent
    texts = {file.name: file.read_text() for file in folder.rglob("*.py")}
    for word in ("shell=True", "os.system", "os.popen", "getoutput"):
        assert not [name for name, text in texts.items() if word in text]
