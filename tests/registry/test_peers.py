"""Tools of others read what we push, and we read what they copy."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack import registry as registries
from modelpack.registry import parse
from modelpack.store import Entry, Store
from modelpack.tag import Tag

Tool = Callable[..., str]
ORAS = """
import sys, oras.client
client = oras.client.OrasClient(insecure=True)
for file in client.pull(target=sys.argv[1], outdir=sys.argv[2]): print(file)
"""


def run(*words: object) -> str:
    done = subprocess.run(
        [*map(str, words)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.fixture
def entry(workshop: Any) -> Entry:
    return workshop.bundle(model=workshop.model(b"w" * 1_000_000))


@pytest.fixture
def place(store: Store, entry: Entry, registry: str) -> str:
    """Where the bundle is, ``HOST/REPOSITORY:TAG``."""
    where = f"{registry}/peers/digits:1"
    registries.push(store, entry, parse(where), options=registries.Options(force=True))
    return where


@pytest.fixture
def skopeo() -> Tool:
    if shutil.which("skopeo") is None:
        pytest.skip("'skopeo' is not installed")
    return lambda command, *words: run("skopeo", "--insecure-policy", command, *words)


def installed(folder: Path, package: str) -> Path:
    """Install a package into an environment of its own and return the folder of its programs."""
    venv.create(folder, with_pip=True)
    run(folder / "bin" / "python", "-m", "pip", "install", "-q", package)
    return folder / "bin"


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_skopeo_reads_the_manifest_and_keeps_the_digest(
    entry: Entry, place: str, other: Store, skopeo: Tool, tmp_path: Path
) -> None:
    raw = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{place}")
    assert hashlib.sha256(raw.encode()).hexdigest() == entry.digest.removeprefix("sha256:")
    copied = place.replace("digits", "copied")
    plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
    skopeo("copy", *plain, f"docker://{place}", f"docker://{copied}")
    assert registries.pull(other, parse(copied))[0].digest == entry.digest
    archive = tmp_path / "digits.modelpack"
    skopeo("copy", plain[0], f"docker://{place}", f"oci-archive:{archive}")
    assert other.import_(archive).digest == entry.digest


def test_a_folder_that_we_push_to_is_a_layout_to_others(
    store: Store, entry: Entry, skopeo: Tool, tmp_path: Path
) -> None:
    registries.push(store, entry, parse(f"file://{tmp_path}/layout#digits:1"))
    raw = skopeo("inspect", "--raw", f"oci:{tmp_path}/layout:digits:1")
    assert json.loads(raw)["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    if shutil.which("umoci") is None:
        pytest.skip("'umoci' is not installed")
    assert run("umoci", "ls", "--layout", tmp_path / "layout").split() == ["digits:1"]


def test_a_layout_that_skopeo_wrote_can_be_pulled(
    entry: Entry, place: str, other: Store, skopeo: Tool, tmp_path: Path
) -> None:
    skopeo("copy", "--src-tls-verify=false", f"docker://{place}", f"oci:{tmp_path}/layout:any")
    for tag in ("", "#any"):
        brought, _ = registries.pull(other, parse(f"file://{tmp_path}/layout{tag}"))
        assert (brought.tag, brought.digest) == (Tag("digits", "1"), entry.digest)


@pytest.mark.peers
@pytest.mark.network
def test_oras_pulls_the_layers_as_they_are(
    store: Store, entry: Entry, place: str, tmp_path: Path
) -> None:
    programs = installed(tmp_path / "oras", "oras")
    run(programs / "python", "-c", ORAS, place, tmp_path / "out")
    digests = {
        f"sha256:{hashlib.sha256(data).hexdigest()}"
        for data in files_below(tmp_path / "out").values()
    }
    assert digests == {layer.digest for layer in entry.layers}


@pytest.mark.peers
@pytest.mark.network
def test_the_client_of_the_specification_pulls_the_same_files(
    store: Store, entry: Entry, place: str, tmp_path: Path
) -> None:
    programs = installed(tmp_path / "client", "modelpack-client")
    run(programs / "modelpack", "--insecure", "pull", place, tmp_path / "out")
    ours = files_below(store.unpack(entry, tmp_path / "ours"))
    theirs = files_below(tmp_path / "out")
    found = {
        path.partition("bundle/")[2]: data for path, data in theirs.items() if "bundle/" in path
    }
    assert found == ours
