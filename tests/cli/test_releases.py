"""Plans that are kept, applied, gone back from: every word of the grammar, at a target of a plugin.

The target is the one that ``modelpack plugin new`` writes; its apps are files of a folder.
"""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from modelpack.store import Entry

PROGRAM = Path(sysconfig.get_path("scripts")) / "modelpack"


class Releases:
    """Deploys the bundle ``hello:1`` in several revisions, by the colour in its environment."""

    def __init__(self, run, folder: Path) -> None:
        self.run, self.folder = run, folder

    def settings(self, colour: str, more: str = "") -> Path:
        file = self.folder / f"{colour}.yaml"
        file.write_text(
            f"name: hello\ndeploy:\n  target: my-cloud\n  env: {{COLOUR: {colour}}}\n{more}"
        )
        return file

    def deploy(self, colour: str, *flags: object, more: str = "", yes: bool = True):
        file = self.settings(colour, more)
        consent = ["--yes"] if yes else []
        return self.run("deploy", "hello:1", "-f", file, *flags, *consent)

    def revision(self) -> str:
        done = self.run("deployments", "status", "hello", "-o", "json")
        assert done.status == 0, done.err
        return json.loads(done.out)["revision"]


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs in the engine of this machine is none of these tests' business."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")


@pytest.fixture
def releases(inside, my_cloud: Path, bundle: Entry, tmp_path: Path) -> Releases:
    return Releases(inside, tmp_path)


def test_a_kept_plan_is_applied_as_it_is(releases: Releases, tmp_path: Path) -> None:
    kept = tmp_path / "red.plan"
    done = releases.deploy("red", "--save", kept, yes=False)
    assert (done.status, done.out) == (0, "")
    assert "1 to create" in done.err
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert releases.run("deployments", "list").out == ""

    done = releases.run("apply", kept)

    assert done.status == 0, done.err
    assert "deployment 'hello' is running: hello:1" in done.err
    again = releases.run("apply", kept)
    assert again.status == 0
    assert "nothing to change" in again.err


def test_a_plan_that_was_kept_offline_is_applied_when_nothing_stands(
    releases: Releases, tmp_path: Path
) -> None:
    kept = tmp_path / "red.plan"
    done = releases.deploy("red", "--offline", "--save", kept, "--exit-code", yes=False)
    assert done.status == 10
    assert releases.run("apply", kept).status == 0
    releases.run("deployments", "destroy", "hello", "--yes")
    releases.deploy("blue")
    releases.run("apply", kept).failed_well(5, "conflict")


def test_a_kept_plan_of_a_bundle_that_is_gone_is_refused(
    releases: Releases, tmp_path: Path
) -> None:
    """Whoever applies asks the policy about the bundle, so it has to be there."""
    kept = tmp_path / "red.plan"
    releases.deploy("red", "--save", kept, yes=False)
    assert releases.run("delete", "hello:1").status == 0
    releases.run("apply", kept).failed_well(3, "bundle-not-found")


def test_a_deployment_can_go_back_when_its_bundle_is_gone(releases: Releases) -> None:
    """What ran before needs no more than the target still has of it."""
    releases.deploy("red")
    red = releases.revision()
    releases.deploy("blue")
    assert releases.run("delete", "hello:1").status == 0
    assert releases.run("deployments", "rollback", "hello", "--yes").status == 0
    assert releases.revision() == red


def test_a_kept_plan_is_not_applied_to_something_else(releases: Releases, tmp_path: Path) -> None:
    kept = tmp_path / "red.plan"
    releases.deploy("red", "--save", kept, yes=False)
    assert releases.deploy("blue").status == 0
    blue = releases.revision()

    done = releases.run("apply", kept)

    done.failed_well(5, "conflict")
    assert "env.COLOUR  blue → red" in done.err, "the plan that was made anew is shown"
    assert releases.revision() == blue
    assert releases.run("apply", kept, "--yes").status == 0
    assert releases.revision() != blue


def test_without_a_target_a_deployment_stays_where_it_stands(
    releases: Releases, tmp_path: Path
) -> None:
    """With the options of before, so that it is the same place; and only while it stands."""
    apps = tmp_path / "harbour"
    assert releases.deploy("red", "--option", f"folder={apps}").status == 0
    red = releases.revision()
    plain = tmp_path / "plain.yaml"
    plain.write_text("name: hello\ndeploy:\n  env: {COLOUR: blue}\n")

    done = releases.run("deploy", "hello:1", "-f", plain, "--yes")

    assert done.status == 0, done.err
    assert "'hello' stands at target 'my-cloud', so it goes there" in done.err
    assert "deployment 'hello' at target 'my-cloud': 1 to replace" in done.err
    assert [one.name for one in apps.glob("*.app")] == ["hello.app"]
    assert releases.revision() != red

    releases.run("deployments", "destroy", "hello", "--yes")
    gone = releases.run("deploy", "hello:1", "-f", plain, "--yes")
    gone.failed_well(2, "usage")
    assert "no target: say where to deploy to" in gone.err


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        (lambda text: text.replace("red", "green"), 4, "digest-mismatch"),
        (lambda text: text[: len(text) // 2], 2, "usage"),
        (lambda text: "{}", 2, "usage"),
        (lambda text: text.replace("modelpack-plan/1", "modelpack-plan/9"), 2, "usage"),
        (lambda text: text.replace('"changes"', '"chances"'), 1, "deploy-failed"),
    ],
)
def test_a_plan_that_was_tampered_with_is_refused(
    releases: Releases, tmp_path: Path, change: Callable[[str], str], status: int, code: str
) -> None:
    kept = tmp_path / "red.plan"
    releases.deploy("red", "--save", kept, yes=False)
    kept.write_text(change(kept.read_text()))
    releases.run("apply", kept).failed_well(status, code)
    assert releases.run("deployments", "list").out == ""


def test_what_would_be_sent_is_written_without_asking_anybody(
    releases: Releases, tmp_path: Path
) -> None:
    done = releases.deploy("red", "--offline", "--output", "sent", yes=False)
    assert (done.status, done.out) == (0, "sent/app.json\n")
    sent = json.loads((tmp_path / "sent" / "app.json").read_text())
    assert sent["env.COLOUR"] == "red"


def test_an_offline_plan_says_what_it_does_not_know(releases: Releases) -> None:
    assert releases.deploy("red").status == 0
    done = releases.deploy("red", "--offline", "--plan", "--exit-code", yes=False)
    assert done.status == 10
    assert "1 to create" in done.out
    assert "warning: the live state is not known" in done.out


@pytest.mark.parametrize(
    "flags", [["--offline"], ["--plan", "--yes"], ["--save", "x", "--yes"], ["--output", "x", "-y"]]
)
def test_flags_that_contradict_each_other_are_refused(releases: Releases, flags) -> None:
    releases.deploy("red", *flags, yes=False).failed_well(2, "usage")


def test_a_setting_that_must_not_be_passed_over_is_refused(releases: Releases) -> None:
    more = "  network: {public: true}\n  scaling: {in_flight: 8}\n"
    done = releases.deploy("red", "--plan", more=more, yes=False)
    done.failed_well(2, "usage")
    assert "deploy.network.public: the target 'my-cloud' does not do it" in done.err
    done = releases.deploy("red", "--plan", more="  scaling: {in_flight: 8}\n", yes=False)
    assert "warning: scaling.in_flight: the target 'my-cloud' does not do it" in done.out


def test_a_literal_in_the_place_of_a_reference_is_refused_and_not_repeated(
    releases: Releases,
) -> None:
    for literal in ("hunter2", "hunter2:x"):
        more = f"  secrets: {{TOKEN: '{literal}'}}\n"
        done = releases.deploy("red", "--plan", more=more, yes=False)
        assert done.status == 2
        assert "deploy.secrets" in done.err or "secrets.TOKEN: must be a reference" in done.err
        assert "hunter2" not in done.err + done.out


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_variable_that_looks_like_a_secret_is_not_printed(
    releases: Releases, form: str, tmp_path: Path
) -> None:
    file = releases.settings("red")
    file.write_text(file.read_text().replace("COLOUR: red", "API_KEY: hunter2, COLOUR: red"))
    done = releases.run("deploy", "hello:1", "-f", file, "--plan", "-o", form)
    assert done.status == 0
    assert "hunter2" not in done.out + done.err
    assert "red" in done.out


def test_going_back_is_a_plan_like_any_other(releases: Releases) -> None:
    releases.deploy("red")
    red = releases.revision()
    releases.deploy("blue")
    blue = releases.revision()
    listed = json.loads(releases.run("deployments", "history", "hello", "-o", "json").out)
    assert [(one["id"], one["runs"]) for one in listed] == [(red, False), (blue, True)]

    plan = releases.run("deployments", "rollback", "hello", "--plan")
    assert "env.COLOUR  blue → red" in plan.out
    assert releases.revision() == blue
    releases.run("deployments", "rollback", "hello").failed_well(2, "usage")
    assert releases.run("deployments", "rollback", "hello", "--yes").status == 0
    assert releases.revision() == red
    assert releases.run("deployments", "rollback", "hello", blue[:6], "--yes").status == 0
    assert releases.revision() == blue
    releases.run("deployments", "rollback", "hello", "0000000").failed_well(3, "not-found")
    assert [line.split()[-1] for line in table(releases, "history")][-1] == "runs"


def table(releases: Releases, command: str) -> list[str]:
    return releases.run("deployments", command, "hello").out.splitlines()[1:]


def test_there_is_nothing_to_go_back_to_at_first(releases: Releases) -> None:
    releases.deploy("red")
    done = releases.run("deployments", "rollback", "hello", "--yes")
    done.failed_well(3, "not-found")
    assert "no revision to go back to" in done.err


def test_scaling_is_a_plan_and_holds_until_the_next_deploy(releases: Releases) -> None:
    releases.deploy("red")
    red = releases.revision()
    releases.run("deployments", "scale", "hello").failed_well(2, "usage")
    done = releases.run("deployments", "scale", "hello", "--min", "3", "--max", "2")
    done.failed_well(2, "usage")
    assert "--max: must be from 3 to 10000, got 2" in done.err

    done = releases.run("deployments", "scale", "hello", "--min", "2", "--max", "4", "--yes")

    assert done.status == 0, done.err
    assert "min_replicas  (not set) → 2" in done.err
    assert releases.revision() != red
    assert "min_replicas  2 → (not set)" in releases.deploy("red").err
    assert releases.revision() == red


def test_destroying_names_what_goes_and_wants_consent(releases: Releases) -> None:
    releases.deploy("red")
    done = releases.run("deployments", "destroy", "hello")
    assert done.status == 2
    assert "- app/hello" in done.err
    assert "give '--yes'" in done.err
    assert releases.revision()
    assert releases.run("deployments", "destroy", "hello", "--yes").status == 0
    releases.run("deployments", "status", "hello").failed_well(3, "deployment-not-found")
    home = Path(os.environ["MODELPACK_HOME"])
    assert [file.name for file in (home / "deployments").iterdir()] == []


@pytest.mark.parametrize(("typed", "status"), [("hello", 0), ("helo", 1), ("y", 1), ("", 1)])
def test_the_name_has_to_be_typed(
    releases: Releases, tmp_path: Path, typed: str, status: int
) -> None:
    releases.deploy("red")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [PROGRAM, "deployments", "destroy", "hello"], cwd=tmp_path, stdin=theirs, stderr=theirs
    )
    os.close(theirs)
    seen = b""
    while b"type its name" not in seen:
        seen += os.read(ours, 4096)
    os.write(ours, typed.encode() + b"\n")
    assert process.wait(timeout=30) == status
    os.close(ours)
    is_gone = releases.run("deployments", "status", "hello").status == 3
    assert is_gone == (status == 0)


def test_an_apply_that_was_cut_short_is_told_and_taken_up(
    releases: Releases, tmp_path: Path, my_cloud: Path
) -> None:
    """The process is killed for good between the call of the first step and its record."""
    kept = tmp_path / "red.plan"
    releases.deploy("red", "--save", kept, yes=False)
    program = (
        "from modelpack.deploy import catalog, rollout, saved; from modelpack.testing import killing;"
        "from pathlib import Path;"
        f"kept = saved.load(Path({str(kept)!r}));"
        "target = catalog.target(kept.plan.target, kept.options);"
        "rollout.apply_plan(target, kept.plan, begin=killing(1))"
    )
    killed = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False)
    assert killed.returncode == -9

    assert "cut short" in releases.run("deployments", "status", "hello").err
    plan = releases.deploy("red", "--plan", yes=False)
    assert "was cut short in the step 'run/app/hello'" in plan.out
    done = releases.run("apply", kept)
    assert done.status == 0, done.err
    assert releases.run("deployments", "status", "hello").err == ""
    assert "nothing to change" in releases.deploy("red").err
