"""Decoy secrets in every place where an image can hold one."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.image.leaks import find_leaks, tell_tales
from modelpack.image.reading import ReadImage, open_image

PASSWORD = "correct-horse-battery"
SECRETS = {"PIP_INDEX_URL": f"https://me:{PASSWORD}@a.example/simple".encode()}

Layer = dict[str, bytes]


def tar_of(files: Layer, *, pax: str = "") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            if pax:
                member.pax_headers = {"SCHILY.xattr.user.note": pax}
            archive.addfile(member, io.BytesIO(data))
    return made.getvalue()


class Layout:
    """Writes an OCI layout with one image; a real reader opens it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "blobs" / "sha256").mkdir(parents=True)

    def blob(self, data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (self._folder / "blobs" / "sha256" / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data), **more}

    def write(self, layers: list[bytes], *, config: dict[str, Any], **manifest: Any) -> str:
        kind = "application/vnd.oci.image"
        whole = {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in layers],
            },
            **config,
        }
        stored = [self.blob(gzip.compress(one), f"{kind}.layer.v1.tar+gzip") for one in layers]
        said = {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": self.blob(json.dumps(whole).encode(), f"{kind}.config.v1+json"),
            "layers": stored,
            **manifest,
        }
        top = self.blob(json.dumps(said).encode(), f"{kind}.manifest.v1+json")
        index = {"schemaVersion": 2, "manifests": [top]}
        (self._folder / "index.json").write_text(json.dumps(index))
        (self._folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        return f"oci:{self._folder}"


ImageOf = Callable[..., ReadImage]


@pytest.fixture
def image_of(tmp_path: Path) -> Iterator[ImageOf]:
    """Return a function that opens an image of these layers; clean ones stand around them."""
    from contextlib import ExitStack

    with ExitStack() as opened:

        def make(
            *layers: bytes, config: dict[str, Any] | None = None, **manifest: Any
        ) -> ReadImage:
            clean = tar_of({"etc/os-release": b"ID=debian\n" * 1000})
            reference = Layout(tmp_path).write(
                [clean, *layers, clean], config=config or {}, **manifest
            )
            return opened.enter_context(open_image(reference))

        yield make


def test_an_image_without_them_is_clean(image_of: ImageOf) -> None:
    image = image_of(
        tar_of({"bundle/code/service.py": b"class Digits: ...\n"}),
        config={"config": {"Env": ["A=b"]}, "history": [{"created_by": "RUN pip"}]},
    )

    assert find_leaks(image, SECRETS) == []
    assert find_leaks(image, {}) == []


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (SECRETS["PIP_INDEX_URL"], "all of it"),
        (b"x" * 100_000 + PASSWORD.encode() + b"y" * 100_000, "in the middle of a large file"),
        (b"\0\1" + PASSWORD.encode() + b"\0", "in binary data"),
        (b"Basic " + base64.b64encode(f"me:{PASSWORD}".encode()), "as a header of HTTP has it"),
        (b'{"p": "' + base64.b64encode(PASSWORD.encode()) + b'"}', "as a config of Docker has it"),
    ],
)
def test_a_file_that_holds_one_is_named(image_of: ImageOf, data: bytes, what: str) -> None:
    image = image_of(tar_of({"a": b"a", "root/.config/pip": data, "z": b"z" * 5000}))

    assert find_leaks(image, SECRETS) == ["'PIP_INDEX_URL' in layer 2, 'root/.config/pip'"], what


def test_what_a_later_layer_deletes_is_found_in_the_earlier(image_of: ImageOf) -> None:
    image = image_of(tar_of({"root/.netrc": PASSWORD.encode()}), tar_of({"root/.wh..netrc": b""}))

    assert find_leaks(image, SECRETS) == ["'PIP_INDEX_URL' in layer 2, 'root/.netrc'"]


def test_names_and_attributes_of_files_are_searched_too(image_of: ImageOf) -> None:
    image = image_of(
        tar_of({"first": b"", f"tmp/{PASSWORD}.log": b""}), tar_of({"noted": b"x"}, pax=PASSWORD)
    )

    assert find_leaks(image, SECRETS) == [
        f"'PIP_INDEX_URL' in layer 2, 'tmp/{PASSWORD}.log'",
        "'PIP_INDEX_URL' in layer 3, 'noted'",
    ]


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"config": {"Env": ["A=b", f"PIP={PASSWORD}"]}}, "config.Env[1]"),
        ({"config": {"Labels": {"a": f"x {PASSWORD}"}}}, "config.Labels.a"),
        ({"config": {"Labels": {PASSWORD: "a"}}}, "config.Labels"),
        ({"history": [{}, {"created_by": f"|1 PIP_INDEX_URL={PASSWORD}"}]}, "history[1]"),
        ({"config": {"Cmd": [f"--index={SECRETS['PIP_INDEX_URL'].decode()}"]}}, "config.Cmd[0]"),
        ({"moby.buildkit.buildinfo.v1": PASSWORD}, "moby.buildkit.buildinfo.v1"),
    ],
)
def test_config_and_history_are_searched(
    image_of: ImageOf, config: dict[str, Any], place: str
) -> None:
    (found,) = find_leaks(image_of(config=config), SECRETS)

    assert found.startswith(f"'PIP_INDEX_URL' in the config, {place}")


def test_annotations_are_searched(image_of: ImageOf) -> None:
    image = image_of(annotations={"org.example.built-with": PASSWORD})

    (found,) = find_leaks(image, SECRETS)

    assert found == "'PIP_INDEX_URL' in the manifest, annotations.org.example.built-with"


def test_a_secret_across_two_pieces_of_a_layer_is_found(
    image_of: ImageOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers come in pieces of any length; here of seven bytes each."""
    from modelpack.image.reading import ReadLayer

    whole = ReadLayer.unpacked

    def crumbs(self: ReadLayer) -> Iterator[bytes]:
        data = b"".join(whole(self))
        return (data[at : at + 7] for at in range(0, len(data), 7))

    image = image_of(tar_of({"a": b"." * 3 + PASSWORD.encode(), "b": b""}))
    monkeypatch.setattr(ReadLayer, "unpacked", crumbs)

    assert find_leaks(image, SECRETS) == ["'PIP_INDEX_URL' in layer 2, 'a'"]


@pytest.mark.parametrize(
    ("content", "telling"),
    [
        (b"https://me:hunter22@a.example/s", b"hunter22"),
        (b"https://me:hunter%4022@a.example/s", b"hunter@22"),
        (b"https://a-long-token@a.example/s", b"a-long-token"),
        (b"https://a-long-token:@a.example/s", b"a-long-token"),
        (
            b"[global]\nextra-index-url =\n  http://b.example\n  https://u:hunter22@c.example",
            b"hunter22",
        ),
        (b"machine a.example login me password hunter22\n", b"hunter22"),
        (b"machine a.example\n  login me\n  password hunter22\n", b"hunter22"),
        (b'default login me password "hunter 22"\nmachine b password hunter33', b"hunter33"),
        (b"machine a login me password hunter22", base64.b64encode(b"me:hunter22")),
        (b"  a-token-by-itself\n", b"a-token-by-itself"),
    ],
)
def test_the_password_alone_gives_a_secret_away(content: bytes, telling: bytes) -> None:
    assert telling in tell_tales(content)


def test_the_name_of_a_host_or_of_a_user_gives_nothing_away() -> None:
    found = tell_tales(b"https://builder:hunter22@packages.example/simple")

    assert not any(part in (b"builder", b"packages.example") for part in found)


@pytest.mark.parametrize("content", [b"", b"abc", b"https://me:abc@a"])
def test_what_is_too_short_to_be_told_from_chance_is_not_searched_for(content: bytes) -> None:
    assert not any(len(part) < 6 for part in tell_tales(content))


@given(st.binary(max_size=300))
def test_any_content_can_be_searched_for(content: bytes) -> None:
    found = tell_tales(content)

    assert content.strip() in found or len(content.strip()) < 6
