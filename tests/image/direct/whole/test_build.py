"""One image for the same input, whoever builds it; several platforms; what is said about it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelpack.archive.platforms import Platform
from modelpack.config.settings import ImageSettings
from modelpack.errors import DigestMismatchError, RefusedError, SecretFoundError, UsageError
from modelpack.image import ImagePlan, plan_image
from modelpack.image.direct import DirectResult, build_direct
from modelpack.store import DOC_TYPE, Layer, Store

Build = Callable[..., DirectResult]
DIGEST = r"sha256:[0-9a-f]{64}"

# Facts of the OCI image specification 1.1: config.md, manifest.md, image-index.md, descriptor.md.
DESCRIPTOR = {
    "type": "object",
    "required": ["mediaType", "digest", "size"],
    "properties": {
        "mediaType": {
            "type": "string",
            "pattern": r"^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+$",
        },
        "digest": {"type": "string", "pattern": f"^{DIGEST}$"},
        "size": {"type": "integer", "minimum": 0},
        "artifactType": {"type": "string"},
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
        "platform": {
            "type": "object",
            "required": ["architecture", "os"],
            "additionalProperties": {"type": "string"},
        },
    },
    "additionalProperties": False,
}
TEXTS = {"type": "array", "items": {"type": "string"}}
EMPTY_OBJECTS = {"type": "object", "additionalProperties": {"type": "object", "maxProperties": 0}}
MANIFEST = {
    "type": "object",
    "required": ["schemaVersion", "config", "layers"],
    "properties": {
        "schemaVersion": {"const": 2},
        "mediaType": {"const": "application/vnd.oci.image.manifest.v1+json"},
        "artifactType": {"type": "string"},
        "config": DESCRIPTOR,
        "layers": {"type": "array", "minItems": 1, "items": DESCRIPTOR},
        "subject": DESCRIPTOR,
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "additionalProperties": False,
}
INDEX = {
    "type": "object",
    "required": ["schemaVersion", "manifests"],
    "properties": {
        "schemaVersion": {"const": 2},
        "mediaType": {"const": "application/vnd.oci.image.index.v1+json"},
        "manifests": {"type": "array", "items": DESCRIPTOR},
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "additionalProperties": False,
}
CONFIG = {
    "type": "object",
    "required": ["architecture", "os", "rootfs"],
    "properties": {
        "created": {"type": "string", "format": "date-time"},
        "author": {"type": "string"},
        "architecture": {"type": "string"},
        "variant": {"type": "string"},
        "os": {"type": "string"},
        "os.version": {"type": "string"},
        "os.features": TEXTS,
        "config": {
            "type": "object",
            "properties": {
                "User": {"type": "string"},
                "ExposedPorts": EMPTY_OBJECTS,
                "Env": {"type": "array", "items": {"type": "string", "pattern": "^[^=]+="}},
                "Entrypoint": TEXTS,
                "Cmd": TEXTS,
                "Volumes": EMPTY_OBJECTS,
                "WorkingDir": {"type": "string"},
                "Labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "StopSignal": {"type": "string"},
                "Healthcheck": {"type": "object"},  # reserved for Docker's
            },
            "additionalProperties": False,
        },
        "rootfs": {
            "type": "object",
            "required": ["type", "diff_ids"],
            "properties": {
                "type": {"const": "layers"},
                "diff_ids": {"type": "array", "items": {"pattern": f"^{DIGEST}$"}},
            },
            "additionalProperties": False,
        },
        "history": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "created": {"type": "string"},
                    "author": {"type": "string"},
                    "created_by": {"type": "string"},
                    "comment": {"type": "string"},
                    "empty_layer": {"type": "boolean"},
                },
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}


def two_platforms(store: Store, plan: ImagePlan) -> list[ImagePlan]:
    return [
        plan_image(store, plan.entry, ImageSettings(), platform=Platform(machine))
        for machine in ("x86_64", "aarch64")
    ]


def test_documents_have_the_form_of_the_specification(
    build: Build, bases: Any, store: Store, tiny: ImagePlan, read_layout: Any
) -> None:
    from jsonschema import validate

    build(*two_platforms(store, tiny), base=bases.for_two())

    layout = read_layout(bases.root / "out")
    validate(layout.index, INDEX)
    (named,) = layout.named().values()
    index = layout.json(named["digest"])
    validate(index, INDEX)
    for child in index["manifests"]:
        manifest, config, _ = layout.image(child["digest"])
        validate(manifest, MANIFEST)
        validate(config, CONFIG)
    for one in layout.index["manifests"]:
        if one["digest"] != named["digest"]:
            validate(layout.json(one["digest"]), MANIFEST)


# --- the same image each time ---------------------------------------------------------------------

PROGRAM = """
import os, sys, time
os.umask(int(sys.argv[1], 8))
from modelpack.archive.platforms import Platform
from modelpack.config.settings import ImageSettings
from modelpack.image import plan_image
from modelpack.image.direct import build_direct
from modelpack.store import Kind, Store
from modelpack.tag import Tag

real = time.time
time.time = lambda: real() + float(sys.argv[2])
store = Store()
entry = store.find(Tag.parse("tiny"), Kind.BUNDLE)
plan = plan_image(store, entry, ImageSettings(), platform=Platform("x86_64"))
made = build_direct([plan], store, base=sys.argv[3], outputs=[sys.argv[4]])
print(made.digest)
"""


def test_one_digest_on_any_day_in_any_folder_for_any_user(
    store: Store, bases: Any, tiny: ImagePlan, tmp_path: Path
) -> None:
    """Two programs that share nothing but the input: another home, cache, umask, day and name."""
    archive = store.export(tiny.entry, tmp_path / "tiny.modelpack")
    base = bases.usual()
    said = []
    for number, (umask, days) in enumerate([("022", 0), ("077", 400)]):
        home = tmp_path / f"user-{number}"
        elsewhere = home / "deep" / "down"
        elsewhere.mkdir(parents=True)
        environ = {
            **os.environ,
            "HOME": str(home),
            "USER": f"user-{number}",
            "LOGNAME": f"user-{number}",
            "MODELPACK_HOME": str(home / "data"),
            "MODELPACK_CACHE": str(home / "cache"),
            "TZ": "Asia/Tokyo" if number else "UTC",
        }
        Store(home / "data" / "store").import_(archive)
        place = Path(base.removeprefix("oci:"))
        moved = home / "moved"
        place.rename(moved)
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                PROGRAM,
                umask,
                str(days * 86400),
                f"oci:{moved}",
                f"oci:{home / 'out'}",
            ],
            cwd=elsewhere,
            env=environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        moved.rename(place)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout.strip())

    assert said[0] == said[1]


def test_a_change_of_code_changes_the_last_layer_alone(
    build: Build, wheels_plan: Any, bases: Any, read_layout: Any, tmp_path: Path
) -> None:
    base = bases.usual()
    before = build(wheels_plan(code=b"x = 1\n"), base=base)
    after = build(wheels_plan(code=b"x = 2\n"), base=base)

    layers = [
        [one["digest"] for one in read_layout(tmp_path / "out").image(made.digest)[0]["layers"]]
        for made in (before, after)
    ]
    assert layers[0][:-1] == layers[1][:-1]
    assert layers[0][-1] != layers[1][-1]
    assert after.written[0].new_bytes < 50_000
    assert after.written[0].kept_bytes > 10 * after.written[0].new_bytes


# --- several platforms -------------------------------------------------------------------------


def test_two_platforms_become_one_index(
    build: Build, bases: Any, store: Store, tiny: ImagePlan, read_layout: Any
) -> None:
    """Built on one machine; nothing of the other platform is run for it."""
    made = build(*two_platforms(store, tiny), base=bases.for_two())

    layout = read_layout(bases.root / "out")
    ((name, entry),) = layout.named().items()
    index = layout.json(entry["digest"])
    assert name.startswith("tiny:")
    assert entry["digest"] == made.digest
    assert [one["platform"] for one in index["manifests"]] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux", "variant": "v8"},
    ]
    configs = [layout.image(one["digest"])[1] for one in index["manifests"]]
    assert [one["architecture"] for one in configs] == ["amd64", "arm64"]
    assert configs[1]["variant"] == "v8"
    own = [one["rootfs"]["diff_ids"][-1] for one in configs]
    assert own[0] == own[1], "the code is the very same blob"


def test_a_platform_twice_and_debian_packages_are_refused(
    store: Store, bases: Any, tiny: ImagePlan
) -> None:
    more = replace(tiny, system_packages=("libgomp1",))
    with pytest.raises(UsageError, match="asked for twice"):
        build_direct([tiny, tiny], store, base=bases.usual(), outputs=["oci:nowhere"])
    with pytest.raises(UsageError, match="'libgomp1' is a Debian package") as caught:
        build_direct([more], store, base=bases.usual(), outputs=["oci:nowhere"])
    assert "--engine docker" in (caught.value.hint or "")


# --- what is said about it ------------------------------------------------------------------------


def said_about(layout: Any, digest: str, kind: str) -> dict[str, Any]:
    """Return the data of the one statement of a kind about an image."""
    found = []
    for one in layout.index["manifests"]:
        value = layout.json(one["digest"])
        if value.get("artifactType") == kind and value["subject"]["digest"] == digest:
            (layer,) = value["layers"]
            found.append(layout.json(layer["digest"]))
    (only,) = found
    return dict(only)


def test_the_bill_of_materials_names_packages_base_and_its_packages(
    build: Build, tiny: ImagePlan, read_layout: Any, tmp_path: Path
) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    made = build(tiny)

    bill = said_about(read_layout(tmp_path / "out"), made.digest, "application/vnd.cyclonedx+json")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None
    names = {(one["type"], one["name"], one.get("version")) for one in bill["components"]}
    assert ("library", "libc6", "2.36-9+deb12u10") in names
    assert ("operating-system", "some", "12") in names
    assert ("library", "gone", "1") not in names
    assert {name for kind, name, _ in names if kind == "library"} > {"numpy", "starlette"}
    (base,) = [one for one in bill["components"] if one["bom-ref"] == "base"]
    assert f"sha256:{base['hashes'][0]['content']}" == made.images[0].base_digest
    assert bill["metadata"]["component"]["type"] == "container"


def test_the_provenance_names_bundle_base_and_lock_by_digest(
    build: Build, tiny: ImagePlan, store: Store, read_layout: Any, tmp_path: Path
) -> None:
    made = build(tiny, reference="team/tiny:1")

    statement = said_about(
        read_layout(tmp_path / "out"), made.digest, "application/vnd.in-toto+json"
    )
    parts = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    digests = {f"sha256:{one['digest']['sha256']}" for one in parts}
    lock = store.bundle_manifest(tiny.entry).lock_sha256
    assert statement["subject"] == [
        {"name": "team/tiny:1", "digest": {"sha256": made.digest.removeprefix("sha256:")}}
    ]
    assert digests == {tiny.entry.digest, made.images[0].base_digest, f"sha256:{lock}"}


def test_each_platform_has_statements_of_its_own(
    build: Build, bases: Any, store: Store, tiny: ImagePlan, read_layout: Any
) -> None:
    made = build(*two_platforms(store, tiny), base=bases.for_two())

    layout = read_layout(bases.root / "out")
    for image in made.images:
        bill = said_about(layout, image.digest, "application/vnd.cyclonedx+json")
        (purl,) = [one["purl"] for one in bill["components"] if one["name"] == "libc6"]
        assert f"arch={image.platform['architecture']}" in purl


# --- what must not get in -----------------------------------------------------------------------


def test_a_rotten_blob_of_the_bundle_ends_the_build(
    build: Build, tiny: ImagePlan, store: Store, tmp_path: Path
) -> None:
    (code,) = [one for one in tiny.entry.layers if one.path == "bundle/code"]
    blob = store.root / "blobs" / "sha256" / code.digest.removeprefix("sha256:")
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-1] + b"\1")

    with pytest.raises(DigestMismatchError):
        build(tiny)

    assert not (tmp_path / "out" / "index.json").exists()


@pytest.mark.parametrize(
    "path", ["bundle/venv/bin/python", "bundle/other", "lib/x", "bundle/code/.wh.service.py"]
)
def test_a_bundle_that_brings_what_no_bundle_has_is_refused(
    build: Build, tiny: ImagePlan, store: Store, path: str
) -> None:
    """It would lie above the server and could take its place."""
    import hashlib

    from modelpack.store.tar import header

    data = header(path, 0o644, 0, b"0") + bytes(9728)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    (store.root / "blobs" / "sha256" / digest.removeprefix("sha256:")).write_bytes(data)
    more = Layer(DOC_TYPE, digest, len(data), "bundle/doc")
    plan = replace(tiny, entry=replace(tiny.entry, layers=(*tiny.entry.layers, more)))

    with pytest.raises(RefusedError, match="which no bundle has"):
        build(plan)


def test_a_login_of_an_index_never_gets_into_an_image(
    build: Build, wheels_plan: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Here the service's own file holds it; packages could as well."""
    address = "https://me:swordfish-9@packages.example/simple"
    monkeypatch.setenv("UV_INDEX_URL", address)

    with pytest.raises(SecretFoundError) as caught:
        build(wheels_plan(code=f"INDEX = '{address}'\n".encode()))

    assert "swordfish" not in f"{caught.value.message} {caught.value.hint}"
    assert not (tmp_path / "out").exists()
    assert build(wheels_plan(code=b"INDEX = None\n")).digest


# --- registries -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry of Debian's package on a free port; its host."""
    import shutil
    import socket
    import time
    from contextlib import suppress

    if shutil.which("docker-registry") is None:
        pytest.skip("'docker-registry' is not installed")
    root = tmp_path_factory.mktemp("registry")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (root / "config.yml").write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {root}/data}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}', secret: test}}\n"
    )
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", root / "config.yml"], stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            assert process.poll() is None, (root / "log").read_text()
            time.sleep(0.02)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def push_base(layout: str, reference: str) -> None:
    words = ["skopeo", "copy", "-q", "--dest-tls-verify=false", "--preserve-digests"]
    subprocess.run([*words, f"{layout}:latest", f"docker://{reference}"], check=True, timeout=60)


def test_a_registry_gets_what_it_does_not_have(
    build: Build, wheels_plan: Any, store: Store, bases: Any, registry: str
) -> None:
    """The base is mounted out of its repository and the bundle out of its own; the rest is sent."""
    from modelpack.registry import parse, push

    base = f"{registry}/bases/slim:1"
    push_base(bases.usual(), base)
    plan = wheels_plan(code=b"# " + b"long " * 5000 + b"\n")
    push(store, plan.entry, parse(f"{registry}/bundles/tiny:1"))

    first = build(plan, base=base, outputs=[f"{registry}/team/tiny:1"])
    again = build(plan, base=base, outputs=[f"{registry}/team/tiny:1"])
    other = build(plan, base=base, outputs=[f"{registry}/others/tiny"], reference="tiny:9")
    code = build(wheels_plan(code=b"# short\n"), base=base, outputs=[f"{registry}/team/tiny:1"])

    mountable = ("bundle/code", "bundle/requirements.lock")
    own = {blob.digest: blob.size for blob in plan.entry.layers if blob.path in mountable}
    shared = sum(one.blob.size for one in first.images[0].layers if one.is_base) + sum(own.values())
    assert first.written[0].mounted_bytes == shared
    assert again.digest == other.digest == first.digest
    assert again.written[0].new_bytes < 3_000
    assert other.written[0].output.place == f"{registry}/others/tiny:9"
    assert other.written[0].new_bytes < 12_000
    assert other.written[0].mounted_bytes > 0.9 * first.size_bytes
    assert code.digest != first.digest
    assert code.written[0].new_bytes < 50_000


def test_an_index_in_a_registry_is_chosen_from_and_has_its_statements(
    build: Build, bases: Any, store: Store, tiny: ImagePlan, registry: str
) -> None:
    from modelpack.image.reading import open_image

    made = build(
        *two_platforms(store, tiny),
        base=bases.for_two(),
        outputs=[f"{registry}/team/both:1", f"registry:{registry}/team/both:2"],
    )

    for image in made.images:
        with open_image(f"{registry}/team/both:2", platform=image.plan.platform.name) as read:
            kinds = {one.value.get("artifactType") for one in read.read_referrers()}
            assert read.digest == image.digest
            assert read.index is not None
            assert read.index.blob.digest == made.digest
            assert kinds == {"application/vnd.cyclonedx+json", "application/vnd.in-toto+json"}
            assert b"".join(read.layers[-1].unpacked())


def test_a_base_of_a_registry_is_fetched_once(
    build: Build, bases: Any, tiny: ImagePlan, registry: str, own_cache: Path
) -> None:
    from modelpack.registry import Counts

    base = f"{registry}/bases/once:1"
    push_base(bases.usual(), base)
    first, second = Counts(), Counts()

    one = build(tiny, base=base, outputs=[f"docker-archive:{bases.root / '1.tar'}"], counts=first)
    two = build(tiny, base=base, outputs=[f"docker-archive:{bases.root / '2.tar'}"], counts=second)

    layers = sum(layer.blob.size for layer in one.images[0].layers if layer.is_base)
    assert one.digest == two.digest
    assert first.received_bytes - second.received_bytes == layers
    assert (bases.root / "1.tar").read_bytes() == (bases.root / "2.tar").read_bytes()
    cut, rotten = (own_cache / "image" / "base-layers").iterdir()
    cut.write_bytes(b"cut")
    rotten.write_bytes(bytes(rotten.stat().st_size))

    with pytest.raises(DigestMismatchError, match="has rotted"):
        build(tiny, base=base, outputs=[f"docker-archive:{bases.root / '3.tar'}"])
    assert not (bases.root / "3.tar").exists()
    assert build(tiny, base=base, outputs=[f"docker-archive:{bases.root / '3.tar'}"]).digest
