"""podman and buildah: the words they are given, what they say, and what they leave behind.

A program of the same name stands in where neither is installed.  It answers as podman 4.3.1 and
buildah 1.28.2 do, and writes down what it was given.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelpack.config.settings import ImageSettings
from modelpack.errors import DigestMismatchError, EngineError, ModelpackError
from modelpack.image import BuildSecret, ImagePlan, build_image, plan_image
from modelpack.image.dockerfile import NO_MOUNTS
from modelpack.image.engines.following import follow, log_file
from modelpack.image.engines.podman import read_steps
from modelpack.store import Entry, Store

MakeBundle = Callable[..., Entry]

STAND_IN = """#!{python}
import json, os, pathlib, sys
folder = pathlib.Path({folder!r})
name, words = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
with open(folder / "calls", "a") as calls:
    calls.write(json.dumps([name, *words]) + "\\n")
if words[0] == "build":
    context = pathlib.Path(words[-1])
    seen = {{
        "files": sorted(str(one.relative_to(context)) for one in context.rglob("*") if one.is_file()),
        "dockerfile": (context / "Dockerfile").read_text(),
        "place": str(context),
        "secrets": {{k: v for k, v in os.environ.items() if k.startswith("BUILD_SECRET_")}},
    }}
    (folder / "seen").write_text(json.dumps(seen))
    print((folder / "says").read_text(), end="")
    sys.exit(int((folder / "status").read_text()))
if words[0] == "pull":
    print("Error: short-name did not resolve", file=sys.stderr)
    sys.exit(125)
if words[0] == "inspect":
    if words[-1] == "no/base:1":
        sys.exit(125)
    variables = (folder / "variables").read_text().split()
    if name == "podman":
        print(json.dumps([{{"Id": "ab" * 32, "Size": 123, "Config": {{"Env": variables}}}}]))
    else:
        print(json.dumps({{"FromImageID": "ab" * 32, "Docker": {{"config": {{"Env": variables}}}}}}))
if words[0] == "images":
    print(json.dumps([{{"size": "1.5 kB"}}]))
"""


class StandIn:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in (("says", ""), ("status", "0"), ("variables", "A=b")):
            (folder / name).write_text(text)

    def answer(self, **texts: str) -> None:
        for name, text in texts.items():
            (self.folder / name).write_text(text)

    @property
    def seen(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "seen").read_text())
        return found

    @property
    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]

    @property
    def build(self) -> list[str]:
        return next(words for words in self.calls if words[1] == "build")


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("podman", "buildah"):
        text = STAND_IN.format(python=sys.executable, folder=str(tmp_path / "said"))
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (tmp_path / "said").mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return StandIn(tmp_path / "said")


@pytest.mark.parametrize(("engine", "size"), [("podman", 123), ("buildah", 1500)])
def test_the_context_is_in_our_cache_and_gone_afterwards(
    plan: ImagePlan, store: Store, *, cache: Path, program: StandIn, engine: str, size: int
) -> None:
    made = build_image(plan, store, engine=engine, reference="digits:1", labels={"a": "b"})

    assert (made.reference, made.id, made.size_bytes) == ("digits:1", "sha256:" + "ab" * 32, size)
    assert "models/digits-clf/model.onnx" in program.seen["files"]
    assert program.seen["place"].startswith(f"{cache}/image/")
    assert not Path(program.seen["place"]).exists()
    assert [one for one in (cache / "image").rglob("*") if one.is_file()] == []
    assert program.build[:2] == [engine, "build"]
    assert program.build[program.build.index("--format") + 1] == "docker"
    assert "--identity-label=false" in program.build
    assert program.build[program.build.index("--label") + 1] == "a=b"


@pytest.mark.parametrize("engine", ["podman", "buildah"])
def test_a_dockerfile_of_the_folder_one_stands_in_is_never_built(
    plan: ImagePlan,
    store: Store,
    *,
    cache: Path,
    program: StandIn,
    engine: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both take a relative name from there before they look into the context."""
    (tmp_path / "Dockerfile").write_text("FROM evil\n")
    monkeypatch.chdir(tmp_path)

    build_image(plan, store, engine=engine)

    given = Path(program.build[program.build.index("--file") + 1])
    assert given == Path(program.seen["place"], "Dockerfile")


def test_an_image_of_theirs_keeps_a_cache_and_is_lent_secrets(
    plan: ImagePlan, store: Store, *, cache: Path, program: StandIn, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine a login b password hunter22\n")
    secret = BuildSecret("netrc", tmp_path / "netrc")

    with pytest.raises(ModelpackError):  # the stand-in has no image that could be searched
        build_image(plan, store, engine="podman", secrets=[secret], reference="digits:1")

    assert "id=netrc,env=BUILD_SECRET_0" in program.build
    assert program.seen["secrets"] == {"BUILD_SECRET_0": "machine a login b password hunter22\n"}
    assert "--mount=type=cache" in program.seen["dockerfile"]
    assert "--mount=type=secret,id=netrc" in program.seen["dockerfile"]
    assert not any("hunter22" in word for call in program.calls for word in call)
    asked = program.build[program.build.index("--tag") + 1]
    assert asked.startswith("modelpack-unchecked:")
    assert program.calls[-1] == ["podman", "rmi", asked]


def test_a_base_that_cannot_be_had_is_named(
    plan: ImagePlan, store: Store, *, cache: Path, program: StandIn
) -> None:
    plan = replace(plan, base=replace(plan.base, image="no/base:1"))

    with pytest.raises(EngineError, match="the base 'no/base:1' is not known to podman") as caught:
        build_image(plan, store, engine="podman")

    assert "short-name did not resolve" in caught.value.message
    assert "--base" in (caught.value.hint or "")


def test_a_base_with_another_python_is_refused_before_anything_is_built(
    plan: ImagePlan, store: Store, *, cache: Path, program: StandIn
) -> None:
    program.answer(variables="PYTHON_VERSION=3.1.5")

    with pytest.raises(EngineError, match=r"it has Python 3\.1\.5"):
        build_image(plan, store, engine="buildah")

    assert not any(words[1] == "build" for words in program.calls)


def test_a_failed_build_names_the_step_and_its_last_words(
    plan: ImagePlan, store: Store, *, cache: Path, program: StandIn, progress: Any
) -> None:
    program.answer(
        status="1",
        says="STEP 1/18: FROM x\nSTEP 4/18: COPY a\n--> 5f2a\nSTEP 6/18: RUN pip\n"
        "Collecting x\nERROR: No matching distribution found for x==1\n"
        'Error: building at STEP "RUN pip": while running runtime: exit status 1\n',
    )

    with pytest.raises(EngineError) as caught:
        build_image(plan, store, engine="podman", progress=progress)

    assert caught.value.message.splitlines() == [
        "the image could not be built, at 'Python packages':",
        "  ERROR: No matching distribution found for x==1",
    ]
    assert progress.ended == progress.begun
    assert [one for one in (cache / "image").rglob("*") if one.is_file()] == []


def test_a_rotten_byte_ends_the_build_before_it_begins(
    plan: ImagePlan, store: Store, *, cache: Path, program: StandIn
) -> None:
    weights = next(one for one in plan.entry.layers if one.path.endswith("model.onnx"))
    blob = store.root / "blobs" / "sha256" / weights.digest.removeprefix("sha256:")
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes().replace(b"weights", b"Weights", 1))

    with pytest.raises(DigestMismatchError):
        build_image(plan, store, engine="podman")

    assert not any(words[1] == "build" for words in program.calls)


def test_stages_are_counted_one_by_one(plan: ImagePlan, cache: Path, progress: Any) -> None:
    said = [
        "[1/2] STEP 1/7: FROM a AS packages",
        "[1/2] STEP 7/7: RUN pip",
        "[2/2] STEP 1/15: FROM a",
        "--> Using cache 5f2a",
        "[2/2] STEP 2/15: COPY requirements.lock",
        "[2/2] STEP 4/15: COPY models",
        "[2/2] STEP 99/99: LABEL of the caller",
        "[2/2] COMMIT digits:1",
    ]
    plan = replace(plan, has_wheels=True)
    with log_file(plan) as (log, path):
        follow(plan, read_steps(plan, NO_MOUNTS, said), log, path, progress)

    assert progress.begun == [
        "packages that the bundle brings",
        "Python packages",
        f"base {plan.base.image}",
        "what is installed",
        "model digits-clf",
        "settings",
    ]


# With the real programs, where they are and have the base: nothing is installed for this.


def missing(engine: str) -> str | None:
    base = os.environ.get("ENGINE_BASE_IMAGE", "")
    if shutil.which(engine) is None or not base:
        return f"'{engine}' is not installed"
    known = subprocess.run([engine, "inspect", "--type", "image", base], capture_output=True)
    return f"{engine} does not know the base" if known.returncode else None


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("engine", ["podman", "buildah"])
def test_a_package_with_another_hash_is_never_installed(
    store: Store, make_bundle: MakeBundle, cache: Path, engine: str
) -> None:
    if why := missing(engine):
        pytest.skip(why)
    plan = plan_image(
        store, make_bundle("cpu"), ImageSettings(), base=os.environ["ENGINE_BASE_IMAGE"]
    )

    with pytest.raises(EngineError) as caught:
        build_image(plan, store, engine=engine, reference=f"modelpack-test:{uuid.uuid4().hex}")

    assert "MATCH THE HASHES" in caught.value.message
    assert "at 'Python packages'" in caught.value.message
