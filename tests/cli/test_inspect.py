"""``inspect`` and ``list``: all that is known of a bundle, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack import models
from modelpack.archive import LockedPackage
from modelpack.archive.builder import lock_inputs
from modelpack.archive.lockfile import lock_text
from modelpack.config.load import load_project
from modelpack.store import Entry, Kind, Store

Cli = Callable[..., Any]

WITH_MODEL = """
import modelpack


@modelpack.service
class Hello:
    words = modelpack.Model("words")

    @modelpack.api(batch=True, max_batch_size=8)
    def greet(self, names: list[str], kind: str = "plain") -> list[str]:
        return [self.words["hello"] + name for name in names]
"""


def sections_of(text: str) -> dict[str, list[str]]:
    """Return the lines below each title; those before the first have the title ''."""
    found: dict[str, list[str]] = {"": []}
    title = ""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if not line:
            title = lines[number + 1]
            found[title] = []
        elif line != title:
            found[title].append(line.removeprefix("  ") if title else line)
    return found


def facts_of(text: str) -> dict[str, str]:
    lines = [line.split("  ", 1) for line in sections_of(text)[""]]
    return {line[0].strip(): line[-1].strip() for line in lines}


@pytest.fixture
def loaded(cli: Cli, project: Path) -> str:
    """A bundle of a service with a model that tells its metrics; returns the tag."""
    (project / "service.py").write_text(WITH_MODEL)
    (project / "README.md").write_text("# Hello\n")
    data = project.parent / "train.csv"
    data.write_text("1,2\n")
    tag = models.save(
        "words", {"hello": "hello "}, version="3", metrics={"accuracy": 0.5}, data=data
    )
    store = Store()
    inputs = lock_inputs(load_project(project), [store.find(tag, Kind.MODEL)], store)
    package = LockedPackage("numpy", "2.0.0", None, ("sha256:" + "0" * 64,))
    (project / "requirements.lock").write_text(lock_text(inputs.first_line, [package]))
    done = cli("build", project, "--version", "1")
    assert done.status == 0, done.err
    return str(done.out.strip())


def test_facts_come_first(cli: Cli, bundle: Entry) -> None:
    facts = facts_of(cli("inspect", "hello").out)
    assert facts["tag"] == "hello:1"
    assert facts["digest"] == bundle.digest
    assert facts["content"] == bundle.content
    assert facts["service"] == "service:Hello"
    assert facts["carries code"] == "no"
    assert facts["lock"].startswith("1 packages, sha256:")
    assert facts["sbom"] == "CycloneDX 1.6, 1 components"


def test_each_list_is_a_section(cli: Cli, bundle: Entry) -> None:
    sections = sections_of(cli("inspect", "hello").out)
    assert sections["apis"] == [
        "POST /greet  {name, times}",
        "  name: string",
        "  times: integer, optional",
        "  → string",
    ]
    assert sections["packages (1)"] == ["numpy 2.0.0"]
    (code, lock, sbom) = [line.split() for line in sections["files (3)"]]
    assert [code[0], lock[0], sbom[0]] == ["code/service.py", "doc/sbom.cdx.json",
                                           "requirements.lock"]  # fmt: skip
    assert code[-1] == "sha256:" + Store().bundle_manifest(bundle).files[0].sha256
    assert sections["signatures"] == ["none"]
    assert [line.split()[-1] for line in sections["layers"]] == [
        one.digest for one in bundle.layers
    ]


def test_a_model_says_whether_it_runs_code_and_how_it_was_trained(cli: Cli, loaded: str) -> None:
    done = cli("inspect", loaded)
    assert facts_of(done.out)["carries code"].startswith("yes, words: loading it runs code")
    lines = sections_of(done.out)["models"]
    assert lines[0] == "words:3  pickled, runs code as it is loaded"
    assert "  accuracy 0.5" in lines
    assert any(line.startswith("  trained on train.csv, sha256:") for line in lines)
    assert "POST /greet  {kind, names}  (batches of up to 8)" in sections_of(done.out)["apis"]


def test_json_has_everything(cli: Cli, loaded: str) -> None:
    cli("tag", loaded, "production")
    value = json.loads(cli("inspect", loaded, "-o", "json").out)
    entry = Store().list()[-1]
    assert value["tags"] == ["hello:production"]
    assert value["carries_code"] is True
    paths = {file["path"]: file for file in value["files"]}
    assert set(paths) == {
        "code/service.py",
        "doc/README.md",
        "doc/sbom.cdx.json",
        "models/words/model.pkl",
        "requirements.lock",
    }
    assert all(len(file["sha256"]) == 64 and file["size"] > 0 for file in paths.values())
    (api,) = value["apis"]
    assert api["input"]["required"] == ["names"]
    (model,) = value["models"]
    assert (model["name"], model["version"], model["framework"]) == ("words", "3", "pickled")
    assert (model["runs_code"], model["metrics"]) == (True, {"accuracy": 0.5})
    assert model["data"][0]["annotations"] == {"size": 4}
    assert value["packages"] == [{"name": "numpy", "version": "2.0.0", "marker": None}]
    assert value["lock"]["packages"] == 1
    assert value["lock"]["platforms"][0].startswith("linux/")
    assert value["sbom"]["path"] == "doc/sbom.cdx.json"
    assert value["signatures"] == []
    assert [layer["digest"] for layer in value["layers"]] == [one.digest for one in entry.layers]
    assert value["manifest"]["service"] == "service:Hello"


def test_provenance_names_the_commit_and_what_is_not_in_it(
    cli: Cli, project: Path, tmp_path: Path
) -> None:
    git = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    commit = committed(project)
    cli("build", project, env={**git, "MODELPACK_BUILDER": "https://ci.example/7"})
    clean = sections_of(cli("inspect", "hello").out)["provenance"]
    assert clean[0] == "built by https://ci.example/7"
    assert clean[-1].startswith(f"of commit {commit}, main of ")
    assert (
        json.loads(cli("inspect", "hello", "-o", "json").out)["provenance"]["source"]["changes"]
        == []
    )
    (project / "service.py").write_text(WITH_MODEL.replace("words = ", "# "))
    cli("build", project, env=git)
    assert "not as committed: service.py" in cli("inspect", "hello").out
    value = json.loads(cli("inspect", "hello", "-o", "json").out)["provenance"]
    assert value["source"]["commit"] == commit
    assert value["source"]["is_dirty"] is True


def committed(folder: Path) -> str:
    import subprocess

    def git(*arguments: str) -> str:
        who = ("-c", "user.name=ada", "-c", "user.email=ada@example.com")
        done = subprocess.run(
            ["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init", "--quiet", "--initial-branch=main")
    git("add", ".")
    git("commit", "--quiet", "--message=first")
    return git("rev-parse", "HEAD")


def test_a_bundle_that_is_not_there_is_not_found(cli: Cli) -> None:
    cli("inspect", "hello").failed_well(3, "bundle-not-found")
