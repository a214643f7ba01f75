"""S11: no secret gets into a bundle, and every refusal names the path and the rule.

project full of decoys ──modelpack build──► blobs without one of them
project with a key, with a link out ──────► exit 4, nothing stored, the key not shown
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack.archive.builder import lock_inputs
from modelpack.archive.denied import NAMES
from modelpack.archive.files import collect_files
from modelpack.archive.lockfile import LockedPackage, lock_text
from modelpack.config.load import load_project
from modelpack.errors import SecretFoundError
from modelpack.store import Kind, Store

SERVICE = """
import modelpack


@modelpack.service
class Hello:
    @modelpack.api
    def greet(self, name: str) -> str:
        return name
"""
SETTINGS = """
name: hello
service: service:Hello
image: {env: {B: "2"}}
"""
PACKAGE = LockedPackage("numpy", "2.4.6", None, ("sha256:" + "0" * 64,))
CANARY = "c4n4ry-of-the-decoy-tree"
SHAPES = {
    "a private key": "-----BEGIN " + "RSA PRIVATE KEY-----",
    "an AWS access key id": "AKIA" + "IOSFODNN7EXAMPLE",
    "a service account key": '{"type": ' + '"service_account"}',
    "a storage account key": "AccountKey" + "=" + "A" * 86 + "==",
    "a GitHub token": "ghp_" + "a1B2" * 9,
    "a GitLab token": "glpat-" + "a" * 20,
    "a Slack token": "xoxb-" + "1" * 24,
    "a Google API key": "AIza" + "S" * 35,
    "a Stripe key": "sk_live_" + "a1" * 12,
    "a package index token": "pypi-AgE" + "a" * 48,
    "a model hub token": "hf_" + "a" * 34,
    "an API key": "sk-proj-" + "a1" * 24,
}
Build = Callable[..., Any]


def decoys() -> dict[str, str]:
    """Return a path for every pattern of names, in several places and spellings, by its pattern."""
    rng = random.Random(11)
    found = {}
    for number, pattern in enumerate(NAMES):
        name = pattern.replace("*", rng.choice(["", "x", "prod"])) or "x"
        name = name.upper() if number % 3 == 0 else name
        is_folder = pattern.startswith(".") and "*" not in pattern and number % 2
        place = ["", "pkg/", "data/deep/er/"][number % 3]
        found[f"{place}{name}/inside.txt" if is_folder else f"{place}{name}"] = pattern
    return found


@pytest.fixture
def decoyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Build]:
    """A project, and how to build it."""
    monkeypatch.setenv("MODELPACK_HOME", str(tmp_path / "home"))
    project = tmp_path / "project"
    for folder in ("pkg", "data"):
        (project / folder).mkdir(parents=True)
    (project / "service.py").write_text(SERVICE)
    (project / "modelpack.yaml").write_text(SETTINGS)
    inputs = lock_inputs(load_project(project), [], Store())
    (project / "requirements.lock").write_text(lock_text(inputs.first_line, [PACKAGE]))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "modelpack", "build", str(project), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return project, run


def test_s11_no_decoy_gets_into_a_bundle_and_each_is_said(decoyed: tuple[Path, Build]) -> None:
    project, run = decoyed
    planted = decoys()
    for path in planted:
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(CANARY)
    (project / "modelpack.yaml").write_text(SETTINGS + "exclude: ['!.env', '!*.pem', '!.aws/']\n")

    done = run("-v")

    assert done.returncode == 0, done.stderr
    blobs = [*Store().root.rglob("blobs/sha256/*")]
    assert len(blobs) >= 4
    assert [blob for blob in blobs if CANARY.encode() in blob.read_bytes()] == []
    skipped = collect_files(load_project(project)).skipped
    for path, pattern in planted.items():
        tops = [path.rsplit("/", cut)[0] + "/" for cut in range(1, path.count("/") + 1)]
        said = [one for one in skipped if one.split(" (")[0] in (path, *tops)]
        assert said, f"nothing is said of '{path}'"
        rules = [one.partition("named like a secret, '")[2].partition("'")[0] for one in said]
        assert any(rule in (pattern, *NAMES) for rule in rules), (path, pattern, said)
    assert "left out, named like a secret" in done.stderr


@pytest.mark.parametrize("kind", SHAPES)
def test_s11_a_key_in_a_file_stops_the_build(decoyed: tuple[Path, Build], kind: str) -> None:
    project, _ = decoyed
    (project / "pkg" / "settings.py").write_text(f"# harmless\nKEY = '''{SHAPES[kind]}'''\n")
    with pytest.raises(SecretFoundError) as caught:
        collect_files(load_project(project))
    assert caught.value.message == f"'pkg/settings.py' holds what looks like {kind}, in line 2"
    assert SHAPES[kind] not in f"{caught.value.message} {caught.value.hint}"


def test_s11_a_refused_build_stores_nothing_and_shows_no_key(
    decoyed: tuple[Path, Build],
) -> None:
    project, run = decoyed
    key = SHAPES["an AWS access key id"]
    for path in ("pkg/settings.py", "README.md", "data/notes.txt"):
        before = (project / path).read_text() if (project / path).exists() else None
        (project / path).write_text(f"key: {key}\n")
        done = run()
        assert (done.returncode, done.stdout) == (4, "")
        assert f"error[secret-found]: '{path}' holds what looks like an AWS" in done.stderr
        assert key not in done.stderr
        (project / path).unlink() if before is None else (project / path).write_text(before)
    (project / "modelpack.yaml").write_text(SETTINGS.replace('B: "2"', f'B: "{key}"'))
    done = run()
    assert (done.returncode, key in done.stderr) == (4, False)
    assert "'image.env' holds what looks like an AWS" in done.stderr
    assert Store().list(Kind.BUNDLE) == []


def test_s11_a_link_that_leaves_the_project_is_refused(
    decoyed: tuple[Path, Build], tmp_path: Path
) -> None:
    project, run = decoyed
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "notes.txt").write_text(CANARY)
    (tmp_path / "hop").symlink_to(tmp_path / "outside")
    link = project / "data" / "link"
    for target in (
        "/etc/passwd",
        "../../outside",
        "../../outside/notes.txt",
        str(tmp_path / "hop" / "notes.txt"),
        "/proc/self/environ",
    ):
        link.symlink_to(target)
        done = run()
        assert (done.returncode, done.stdout) == (4, ""), target
        assert "error[refused]: the link 'data/link' leaves the project" in done.stderr
        link.unlink()
    (project / ".env").write_text(CANARY)
    link.symlink_to("../.env")
    done = run()
    assert done.returncode == 4
    assert "the link 'data/link' leads to '.env', named like a secret, '.env*'" in done.stderr
    assert Store().list(Kind.BUNDLE) == []


def test_s11_only_the_very_path_lets_a_secret_in(decoyed: tuple[Path, Build]) -> None:
    project, run = decoyed
    for path in ("certs/ca.pem", "certs/server.pem"):
        (project / path).parent.mkdir(exist_ok=True)
        (project / path).write_text(f"{CANARY} {path}")
    allowed = SETTINGS + "allow_secrets: [certs/ca.pem]\n"
    (project / "modelpack.yaml").write_text(allowed)
    assert run().returncode == 0
    packed = b"".join(blob.read_bytes() for blob in Store().root.rglob("blobs/sha256/*"))
    assert f"{CANARY} certs/ca.pem".encode() in packed
    assert f"{CANARY} certs/server.pem".encode() not in packed
