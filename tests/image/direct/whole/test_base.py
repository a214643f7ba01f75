"""Which bases are built on, which are refused, and what is found out about them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import BuildError, DigestMismatchError, NotFoundError, RefusedError
from modelpack.image import ImagePlan, PythonFrom
from modelpack.image.direct import DirectResult

Build = Callable[..., DirectResult]


def a_layer(base: Path) -> Path:
    """Return the file of one layer of a base that was written for the test."""
    blobs = (base / "blobs" / "sha256").iterdir()
    return next(one for one in blobs if not one.read_bytes().startswith(b"{"))


def test_python_and_glibc_are_found_through_links(
    bases: Any, build: Build, tiny: ImagePlan
) -> None:
    layer = {
        "lib64": bases.link("usr/lib64"),
        "usr/lib64/libc.so.6": bases.link("libc-2.31.so"),
        "usr/lib64/libc-2.31.so": bases.libc("amd64", "2.31"),
        "opt/python/bin/python3.11": bases.elf("amd64", b"3.11.4"),
        "usr/bin/python3.11": bases.link("/opt/current/python3.11"),
        "opt/current": bases.link("python/bin"),
    }

    facts = build(tiny, base=bases.write(bases.manifest([layer]))).images[0].facts

    assert facts.glibc == "2.31"
    assert facts.pythons["3.11"].path == "/opt/python/bin/python3.11"
    assert facts.pythons["3.11"].version == "3.11.4"


def test_a_path_may_have_spaces(bases: Any, build: Build, tiny: ImagePlan) -> None:
    base = bases.write(bases.manifest(bases.slim()), name="the base")

    made = build(tiny, base=base, outputs=[f"oci:{bases.root / 'an image'}"])

    assert build(tiny, base=base, outputs=[f"oci:{bases.root / 'an image'}"]).digest == made.digest


def test_the_first_python_of_the_path_is_taken(bases: Any, build: Build, tiny: ImagePlan) -> None:
    own = {
        "usr/local/bin/python3.11": bases.elf("amd64", b"3.11.1"),
        "usr/bin/python3.11": bases.elf("amd64", b"3.11.2"),
    }
    settings = {"Env": ["PATH=/usr/bin:/usr/local/bin"]}
    base = bases.write(bases.manifest([*bases.slim(), own], settings=settings))

    python = build(tiny, base=base).images[0].facts.pythons["3.11"]

    assert (python.path, python.version) == ("/usr/bin/python3.11", "3.11.2")


def test_what_the_base_says_of_its_python_counts_before_what_the_file_says(
    bases: Any, build: Build, tiny: ImagePlan
) -> None:
    settings = {"Env": ["PATH=/usr/local/bin", "PYTHON_VERSION=3.11.13"]}

    facts = build(tiny, base=bases.usual(settings=settings)).images[0].facts

    assert facts.pythons["3.11"].version == "3.11.13"


def test_the_version_may_stand_in_the_shared_library(
    bases: Any, build: Build, tiny: ImagePlan
) -> None:
    """The official images have a small program and all of CPython in a library."""
    layer = {
        "usr/local/bin/python3.11": bases.elf("amd64", b"no version"),
        "usr/local/lib/libpython3.11.so.1.0": bases.elf("amd64", b"3.11.7"),
    }
    base = bases.write(bases.manifest([bases.slim()[0], layer]))

    assert build(tiny, base=base).images[0].facts.pythons["3.11"].version == "3.11.7"


@pytest.mark.parametrize(
    "marker", ["usr/local/bin/.wh.python3.11", "usr/local/.wh..wh..opq", "usr/.wh.local"]
)
def test_a_python_that_a_later_layer_deletes_is_none(
    bases: Any, build: Build, tiny: ImagePlan, marker: str
) -> None:
    base = bases.write(bases.manifest([*bases.slim(), {marker: b""}]))

    with pytest.raises(RefusedError, match=r"has no Python on its PATH"):
        build(tiny, base=base)


def test_a_folder_that_becomes_a_link_takes_its_files_with_it(
    bases: Any, build: Build, tiny: ImagePlan
) -> None:
    base = bases.write(bases.manifest([*bases.slim(), {"usr/local/bin": bases.link("/nowhere")}]))

    with pytest.raises(RefusedError, match=r"no Python on its PATH"):
        build(tiny, base=base)


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ({"glibc": "2.27"}, "has glibc 2.27, and wheels need 2.28"),
        ({"python": "3.12.1"}, "has Python 3.12, and the bundle is locked for Python 3.11"),
    ],
)
def test_a_base_that_does_not_fit_is_refused_with_what_it_has(
    bases: Any,
    build: Build,
    tiny: ImagePlan,
    layers: dict[str, str],
    said: str,
) -> None:
    base = bases.write(bases.manifest(bases.slim(**layers)))

    with pytest.raises(RefusedError, match=said) as caught:
        build(tiny, base=base)

    assert caught.value.hint
    assert not (bases.root / "out").exists()


def test_a_base_without_glibc_is_refused(bases: Any, build: Build, tiny: ImagePlan) -> None:
    musl = {"lib/ld-musl-x86_64.so.1": bases.elf("amd64", b"musl libc")}
    base = bases.write(bases.manifest([musl, bases.slim()[1]]))

    with pytest.raises(RefusedError, match="no glibc"):
        build(tiny, base=base)


def test_a_base_for_another_platform_is_refused(bases: Any, build: Build, tiny: ImagePlan) -> None:
    base = bases.write(bases.manifest(bases.slim("arm64"), architecture="arm64"))

    with pytest.raises(NotFoundError, match="has no image for 'linux/amd64'"):
        build(tiny, base=base)


def test_a_base_that_lies_about_its_platform_is_refused(
    bases: Any, build: Build, tiny: ImagePlan
) -> None:
    base = bases.write(bases.manifest(bases.slim("arm64"), architecture="amd64"))

    with pytest.raises(RefusedError, match="is for aarch64, not for x86_64"):
        build(tiny, base=base)


def test_building_again_reads_nothing_of_the_base(
    bases: Any, build: Build, tiny: ImagePlan, tmp_path: Path
) -> None:
    """Its layers may even be gone, where the output has them already."""
    base = bases.usual()
    first = build(tiny, base=base)
    for blob in (tmp_path / "base-1" / "blobs" / "sha256").iterdir():
        if not blob.read_bytes().startswith(b"{"):
            blob.unlink()

    again = build(tiny, base=base)

    assert again.digest == first.digest
    assert again.written[0].new_bytes == 0


def test_a_base_with_a_rotten_layer_ends_the_build(
    bases: Any, build: Build, tiny: ImagePlan, own_cache: Path
) -> None:
    base = bases.usual()
    layer = a_layer(bases.root / "base-1")
    data = bytearray(layer.read_bytes())
    data[-9] ^= 1
    assert not own_cache.exists()
    layer.write_bytes(data)

    with pytest.raises(DigestMismatchError):
        build(tiny, base=base)

    assert not (bases.root / "out").exists()


def test_a_layer_that_rots_after_it_was_looked_at_gets_into_no_image(
    bases: Any, build: Build, tiny: ImagePlan, tmp_path: Path
) -> None:
    base = bases.usual()
    build(tiny, base=base, outputs=[f"oci:{tmp_path / 'first'}"])
    layer = a_layer(tmp_path / "base-1")
    layer.write_bytes(bytes(layer.stat().st_size))

    with pytest.raises(DigestMismatchError):
        build(tiny, base=base)

    assert not (tmp_path / "out" / "index.json").exists()
    assert not list((tmp_path / "out" / ".staging").iterdir())


def test_a_base_in_the_form_of_docker_becomes_oci(
    bases: Any, build: Build, tiny: ImagePlan, tmp_path: Path, read_layout: Any
) -> None:
    made = build(tiny, base=bases.write(bases.manifest(bases.slim(), is_docker=True)))

    manifest, _, _ = read_layout(tmp_path / "out").image(made.digest)
    kinds = {layer["mediaType"] for layer in manifest["layers"]}
    assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    assert kinds == {
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
    }


def test_a_layer_that_nobody_may_pass_on_is_refused(
    bases: Any, build: Build, tiny: ImagePlan, tmp_path: Path
) -> None:
    made = bases.manifest(bases.slim())
    value = json.loads(bases.blobs[made["digest"]])
    value["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    changed = bases.blob(json.dumps(value).encode(), made["mediaType"])

    with pytest.raises(RefusedError, match="foreign"):
        build(tiny, base=bases.write(changed))


def test_a_usual_base_that_is_not_to_be_had_says_what_else_there_is(
    build: Build, tiny: ImagePlan, store: Any, monkeypatch: pytest.MonkeyPatch, image_cache: Path
) -> None:
    from modelpack.image.direct import build_direct

    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    monkeypatch.delenv("MODELPACK_REGISTRY", raising=False)
    plan = replace(tiny, base=replace(tiny.base, image="127.0.0.1:1/python:3.11-slim"))

    with pytest.raises((BuildError, NotFoundError), match=r"is not to be had") as caught:
        build_direct([plan], store, base=None, outputs=["oci:nowhere"])

    assert "oci:DIR" in (caught.value.hint or "")
    assert not Path("nowhere").exists()


def test_a_base_that_needs_an_engine_for_its_python_asks_for_another(
    tiny: ImagePlan, store: Any
) -> None:
    from modelpack.image.direct import build_direct

    plan = replace(tiny, base=replace(tiny.base, python_from=PythonFrom.COPY))

    with pytest.raises(BuildError, match=r"only an engine can install it") as caught:
        build_direct([plan], store, base=None, outputs=["oci:nowhere"])

    assert "--base" in (caught.value.hint or "")


def test_facts_that_cannot_be_read_are_found_out_again(
    bases: Any, build: Build, tiny: ImagePlan, own_cache: Path
) -> None:
    base = bases.usual()
    first = build(tiny, base=base)
    (noted,) = (own_cache / "image" / "bases").iterdir()
    noted.write_text("{")

    assert build(tiny, base=base).digest == first.digest
    assert json.loads(noted.read_text())["glibc"] == "2.36"


def test_without_room_for_notes_it_builds_all_the_same(
    bases: Any, build: Build, tiny: ImagePlan, own_cache: Path
) -> None:
    build(tiny, base=bases.usual())
    shutil.rmtree(own_cache / "image" / "bases")
    (own_cache / "image" / "bases").write_text("in the way")

    assert build(tiny, base=bases.usual()).images[0].facts.glibc == "2.36"
