"""Where an image goes, and that nothing is ever half written there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import BadReferenceError, ConflictError, StoreError, UsageError
from modelpack.image import ImagePlan
from modelpack.image.direct import DirectResult, layouts
from modelpack.image.direct.outputs import Form, Output, parse_output
from modelpack.store.durable import Staging

Build = Callable[..., DirectResult]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("engine", Output(Form.ENGINE, "", "digits:1")),
        ("oci:out", Output(Form.LAYOUT, "out", "digits:1")),
        ("oci:/a/b:latest", Output(Form.LAYOUT, "/a/b", "latest")),
        ("oci:out:team/digits:2", Output(Form.LAYOUT, "out", "team/digits:2")),
        ("docker-archive:d.tar", Output(Form.ARCHIVE, "d.tar", "digits:1")),
        ("docker-archive:d.tar:other:2", Output(Form.ARCHIVE, "d.tar", "other:2")),
        ("localhost:5000/digits", Output(Form.REGISTRY, *["localhost:5000/digits:1"] * 2)),
        ("registry:r.example/d:2", Output(Form.REGISTRY, *["r.example/d:2"] * 2)),
    ],
)
def test_an_output_is_a_place_and_a_name(text: str, expected: Output) -> None:
    assert parse_output(text, "digits:1") == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no place"),
        ("digits:1", "is no place"),
        ("oci:", "names no path"),
        ("oci:out:two words", "cannot name an image in a layout"),
        ("oci:out::", "cannot name an image in a layout"),
        ("docker-archive:", "names no path"),
        ("docker-archive:d.tar:NAME", "is not the name of an image"),
        ("s3://bucket/images", "a place for bundles"),
        ("file:///srv/images", "a place for bundles"),
        (f"r.example/d@sha256:{'0' * 64}", "names a digest"),
        ("r.example/UPPER:1", "cannot be a repository"),
    ],
)
def test_what_is_no_output_is_refused(text: str, said: str) -> None:
    with pytest.raises((UsageError, BadReferenceError), match=said) as caught:
        parse_output(text, "digits:1")
    assert caught.value.hint


@pytest.mark.parametrize("text", ["engine", "docker-archive:d.tar"])
def test_a_place_for_one_platform_takes_no_index(text: str) -> None:
    with pytest.raises(UsageError, match="for one platform, not for several"):
        parse_output(text, "digits:1", several=True)


@pytest.mark.parametrize("outputs", [(), ("oci:a", "oci:a")])
def test_none_and_one_twice_are_refused_before_anything_is_made(
    tiny: ImagePlan, store: Any, outputs: tuple[str, ...]
) -> None:
    from modelpack.image.direct import build_direct

    with pytest.raises(UsageError, match=r"no place for the image|asked for twice"):
        build_direct([tiny], store, base="oci:nowhere", outputs=outputs)


def test_a_layout_keeps_what_others_put_there(
    build: Build, tiny: ImagePlan, read_layout: Any, tmp_path: Path
) -> None:
    out = f"oci:{tmp_path / 'out'}"
    first = build(tiny, outputs=[f"{out}:one"])
    index = read_layout(tmp_path / "out").index
    foreign = {"mediaType": "text/plain", "digest": f"sha256:{'a' * 64}", "size": 1}
    index["manifests"].insert(0, foreign)
    index["annotations"] = {"from": "another tool"}
    (tmp_path / "out" / "index.json").write_text(json.dumps(index))

    build(tiny, outputs=[f"{out}:two"])

    after = read_layout(tmp_path / "out")
    assert after.index["annotations"] == {"from": "another tool"}
    assert foreign in after.index["manifests"]
    assert {name: one["digest"] for name, one in after.named().items()} == {
        "one": first.digest,
        "two": first.digest,
    }


def test_a_name_in_a_layout_moves_and_takes_its_statements_along(
    build: Build, wheels_plan: Any, read_layout: Any, tmp_path: Path, bases: Any
) -> None:
    base = bases.usual()
    before = build(wheels_plan(code=b"x = 1\n"), base=base, reference="tiny:1")
    after = build(wheels_plan(code=b"x = 2\n"), base=base, reference="tiny:1")

    layout = read_layout(tmp_path / "out")
    subjects = [layout.json(one["digest"]).get("subject") for one in layout.index["manifests"]]
    assert before.digest != after.digest
    assert {name: one["digest"] for name, one in layout.named().items()} == {"tiny:1": after.digest}
    assert [one["digest"] for one in subjects if one] == [after.digest] * 2


def test_an_image_under_two_names_keeps_its_statements_when_one_moves(
    build: Build, wheels_plan: Any, read_layout: Any, tmp_path: Path, bases: Any
) -> None:
    base, out = bases.usual(), f"oci:{tmp_path / 'out'}"
    before = build(wheels_plan(code=b"1\n"), base=base, outputs=[f"{out}:old", f"{out}:new"])
    after = build(wheels_plan(code=b"2\n"), base=base, outputs=[f"{out}:new"])

    layout = read_layout(tmp_path / "out")
    subjects = [layout.json(one["digest"]).get("subject") for one in layout.index["manifests"]]
    assert {one["digest"] for one in subjects if one} == {before.digest, after.digest}


def test_builders_at_once_lose_nothing_of_each_other(
    build: Build, tiny: ImagePlan, read_layout: Any, tmp_path: Path, bases: Any
) -> None:
    base = bases.usual()
    build(tiny, base=base, outputs=[f"oci:{tmp_path / 'warm'}"])
    names = [f"n{number}" for number in range(8)]

    with ThreadPoolExecutor(8) as crew:
        outputs = [[f"oci:{tmp_path / 'out'}:{name}"] for name in names]
        made = [*crew.map(lambda one: build(tiny, base=base, outputs=one), outputs)]

    layout = read_layout(tmp_path / "out")
    assert {*layout.named()} == {*names}
    assert len({one.digest for one in made}) == 1
    layout.image(made[0].digest)


@pytest.mark.parametrize("content", ["somebody's file", None])
def test_a_folder_with_other_things_is_left_alone(
    build: Build, tiny: ImagePlan, tmp_path: Path, content: str | None
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    if content is None:
        (out / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        (out / "index.json").write_text("[]")
    else:
        (out / "notes.txt").write_text(content)

    with pytest.raises(ConflictError, match=r"other things in it|lists no manifests"):
        build(tiny)

    assert not (out / "blobs" / "sha256").exists() or not [*(out / "blobs" / "sha256").iterdir()]


def test_an_interrupt_in_the_middle_leaves_nothing_behind(
    build: Build, tiny: ImagePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Staged blobs are gone, the index names no image, and the next build just works."""
    publish = Staging.publish

    def interrupted(self: Staging, blobs: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Staging, "publish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(tiny)
    assert [*(tmp_path / "out" / "blobs" / "sha256").iterdir()] == []
    assert [*(tmp_path / "out" / layouts.STAGING).iterdir()] == []
    assert not (tmp_path / "out" / "index.json").exists()

    monkeypatch.setattr(Staging, "publish", publish)
    assert build(tiny).digest


def test_an_archive_has_the_form_of_docker_and_that_of_oci(
    build: Build, tiny: ImagePlan, read_layout: Any, tmp_path: Path
) -> None:
    made = build(tiny, outputs=[f"docker-archive:{tmp_path / 'd.tar'}"], reference="team/tiny:1")

    with tarfile.open(tmp_path / "d.tar") as archive:
        names = archive.getnames()
        archive.extractall(tmp_path / "unpacked", filter="data")
    assert names == sorted(names)
    (listed,) = json.loads((tmp_path / "unpacked" / "manifest.json").read_text())
    layout = read_layout(tmp_path / "unpacked")
    (entry,) = layout.index["manifests"]
    manifest, _, _ = layout.image(entry["digest"])
    assert entry["digest"] == made.digest
    assert listed["RepoTags"] == ["team/tiny:1"]
    assert entry["annotations"]["io.containerd.image.name"] == "docker.io/team/tiny:1"
    paths = [f"blobs/sha256/{one['digest'][7:]}" for one in manifest["layers"]]
    assert listed["Layers"] == paths
    assert listed["Config"] == f"blobs/sha256/{manifest['config']['digest'][7:]}"
    assert (tmp_path / "d.tar").stat().st_size % 10_240 == 0


def test_an_archive_that_fails_leaves_the_old_one_and_nothing_else(
    build: Build, tiny: ImagePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelpack.image.direct import archives

    file = tmp_path / "there" / "d.tar"
    file.parent.mkdir()
    file.write_bytes(b"the old one")
    real = archives.stream_archive

    def broken(*words: Any) -> Iterator[bytes]:
        yield next(real(*words))
        raise KeyboardInterrupt

    monkeypatch.setattr(archives, "stream_archive", broken)
    with pytest.raises(KeyboardInterrupt):
        build(tiny, outputs=[f"docker-archive:{file}"])

    assert [one.name for one in file.parent.iterdir()] == ["d.tar"]
    assert file.read_bytes() == b"the old one"


@pytest.mark.parametrize("output", ["docker-archive:/nowhere/at/all/d.tar", "oci:/proc/nowhere"])
def test_a_place_that_cannot_be_written_is_named(
    build: Build, tiny: ImagePlan, output: str
) -> None:
    with pytest.raises(StoreError, match=r"cannot write .*(/nowhere/at/all|/proc/nowhere)"):
        build(tiny, outputs=[output])


def skopeo(*words: object) -> Any:
    if shutil.which("skopeo") is None:
        pytest.skip("'skopeo' is not installed")
    done = subprocess.run(
        ["skopeo", *map(str, words)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout


def test_skopeo_reads_layouts_and_archives_and_copies_them_unchanged(
    build: Build, tiny: ImagePlan, read_layout: Any, tmp_path: Path
) -> None:
    tar, out = tmp_path / "d.tar", tmp_path / "out"
    made = build(tiny, outputs=[f"oci:{out}:tiny:1", f"docker-archive:{tar}"], reference="tiny:1")

    assert skopeo("inspect", f"oci:{out}:tiny:1")["Digest"] == made.digest
    skopeo("copy", "--preserve-digests", f"oci:{out}:tiny:1", f"oci:{tmp_path / 'copy'}:here")
    assert read_layout(tmp_path / "copy").named()["here"]["digest"] == made.digest
    read = skopeo("inspect", f"docker-archive:{tar}:tiny:1")
    assert read["Labels"]["dev.modelpack.tag"] == str(tiny.entry.tag)
    archive = skopeo("inspect", f"oci-archive:{tar}")
    assert archive["Digest"] == made.digest


def test_umoci_unpacks_it_and_its_gc_takes_nothing_that_is_named(
    build: Build, wheels_plan: Any, read_layout: Any, tmp_path: Path, bases: Any
) -> None:
    if shutil.which("umoci") is None:
        pytest.skip("'umoci' is not installed")
    base, out = bases.usual(), tmp_path / "out"
    build(wheels_plan(code=b"1\n"), base=base, reference="tiny:1")
    made = build(wheels_plan(code=b"2\n"), base=base, reference="tiny:1")
    before = len([*(out / "blobs" / "sha256").iterdir()])

    run = {"capture_output": True, "text": True, "timeout": 60, "check": False}
    done = subprocess.run(["umoci", "gc", "--layout", str(out)], **run)
    assert done.returncode == 0, done.stderr
    words = ["umoci", "unpack", "--image", f"{out}:tiny:1", str(tmp_path / "unpacked")]
    if os.geteuid() != 0:
        words.append("--rootless")
    done = subprocess.run(words, **run)
    assert done.returncode == 0, done.stderr

    assert len([*(out / "blobs" / "sha256").iterdir()]) < before
    manifest, _, tars = read_layout(out).image(made.digest)
    assert len(tars) == len(manifest["layers"])
    root = tmp_path / "unpacked" / "rootfs"
    assert (root / "bundle" / "code" / "service.py").read_bytes() == b"2\n"
    assert (root / "bundle/venv/bin/python").readlink() == Path("/usr/local/bin/python3.11")
    assert (root / "lib").is_symlink()
    spec = json.loads((tmp_path / "unpacked" / "config.json").read_text())
    assert spec["process"]["user"] == {"uid": 65532, "gid": 65532}
