from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack.image.looking import ImageDifference, compare_images, look
from modelpack.image.reading import open_image

SITE = "bundle/venv/lib/python3.11/site-packages"
Compare = Callable[..., ImageDifference]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELPACK_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def make(made: Any) -> Callable[..., Any]:
    """An image of four layers: base, packages, model, code."""

    def image(
        *,
        version: str = "1.0",
        package: bytes = b"p" * 5000,
        weights: bytes = b"w" * 3000,
        code: bytes = b"code",
        base: bytes = b"base" * 1000,
        mtime: int = 0,
        env: str = "A=1",
        **more: Any,
    ) -> Any:
        info = f"{SITE}/foo-{version}.dist-info"
        member, data = made.file(f"{SITE}/foo.py", package)
        member.mtime = mtime
        tars = [
            made.tar(made.file("usr/bin/python3", base)),
            made.tar(
                made.folder(info),
                (member, data),
                made.file(f"{SITE}/same.py", b"same"),
                made.file(f"{info}/RECORD", b"foo.py,,\nsame.py,,\n"),
            ),
            made.tar(made.file("bundle/models/m/weights", weights)),
            made.tar(made.file("bundle/code/service.py", code)),
        ]
        settings = {"Env": [env], "Labels": {"dev.modelpack.tag": f"x:{env}"}}
        return made.Made(tars, settings, **more)

    return image


@pytest.fixture
def compare(made: Any, tmp_path: Path) -> Compare:
    def run(a: Any, b: Any, *, form: str = "oci") -> ImageDifference:
        looked = []
        for number, image in enumerate((a, b)):
            if form == "oci":
                place = made.layout(tmp_path / f"{number}", x=image)
            else:
                place = made.docker_archive(tmp_path / f"{number}.tar", x=image)
            with open_image(f"{form}:{place}") as found:
                looked.append(look(found))
        return compare_images(*looked)

    return run


def test_an_image_does_not_differ_from_itself(make: Any, compare: Compare) -> None:
    found = compare(make(), make())

    assert not found
    assert found.push_bytes == 0
    assert found.reason == "the two are the same image: nothing is sent"
    assert len(found.kept) == 4
    facts = found.to_json()
    assert not any((facts["packages"], facts["models"], facts["files"], facts["settings"]))


def test_a_change_of_code_sends_its_layer_and_the_documents(make: Any, compare: Compare) -> None:
    a, b = make(), make(code=b"other code")

    found = compare(a, b)

    assert [one.what for one in found.added] == ["code"]
    assert [one.what for one in found.removed] == ["code"]
    assert found.push_bytes == len(b.layers[3]) + len(b.config) + len(b.manifest)
    assert [(one.sign, one.name, one.old, one.new) for one in found.files] == [
        ("~", "code/service.py", 4, 10)
    ]
    assert (found.packages, found.models, found.settings) == ([], [], [])
    assert found.reason == "'code' (10.2 kB) is new: 'bundle/code/service.py' is new or changed"


def test_a_change_of_settings_sends_documents_alone(make: Any, compare: Compare) -> None:
    b = make(env="A=2")

    found = compare(make(), b)

    assert found.push_bytes == len(b.config) + len(b.manifest)
    assert found.reason == "no layer is new: only settings are sent"
    assert [(one.name, one.old, one.new) for one in found.settings] == [
        ("env A", "1", "2"),
        ("label dev.modelpack.tag", "x:A=1", "x:A=2"),
    ]


def test_a_package_is_named_with_both_versions(make: Any, compare: Compare) -> None:
    found = compare(make(), make(version="2.0", package=b"q" * 20_000, weights=b"v"))

    assert [(one.name, one.old, one.new) for one in found.packages] == [("foo", "1.0", "2.0")]
    assert [(one.name, one.old, one.new) for one in found.models] == [("m", 3000, 1)]
    assert "most of it is 'Python packages'" in found.reason
    assert "2 of its 3 files are new or changed (foo 1.0 → 2.0)" in found.reason


def test_a_layer_that_was_written_anew_is_told_from_one_that_changed(
    make: Any, compare: Compare
) -> None:
    """What an engine does when it installs the same packages once more."""
    found = compare(make(), make(mtime=1_700_000_000))

    assert [one.what for one in found.added] == ["Python packages"]
    assert found.reason.endswith(
        "its files are the same, but it was written anew, with other times or owners"
    )


def test_another_compression_is_another_blob_to_a_registry(make: Any, compare: Compare) -> None:
    a, b = make(), make(gzipped=[1])

    found = compare(a, b)

    assert [one.digest for one in found.added] == [compare(b, b).b.layers[1].digest]
    assert found.reason.endswith("it has the same files, compressed in another way")


def test_an_engine_compares_what_is_in_a_layer(make: Any, compare: Compare) -> None:
    a, b = make(gzipped=[1]), make(env="A=2")

    found = compare(a, b, form="docker-archive")

    assert found.is_by_content
    assert found.added == []
    assert len(found.kept) == 4


def test_another_base_counts_its_files(make: Any, compare: Compare) -> None:
    found = compare(make(), make(base=b"other"))

    assert found.other_files == 1
    assert found.files == []
    assert [one.what for one in found.added] == ["system"]


def test_a_layer_that_is_there_twice_is_sent_once(made: Any, make: Any, compare: Compare) -> None:
    b = make()
    twice = made.tar(made.file("twice", b"x" * 100))
    b.tars = [*b.tars, twice, twice]

    found = compare(make(), b)

    assert found.push_bytes == len(twice) + len(b.config) + len(b.manifest)


def test_the_facts_are_plain_values(make: Any, compare: Compare) -> None:
    facts = json.loads(json.dumps(compare(make(), make(code=b"x" * 7)).to_json()))

    assert facts["is_different"] is True
    assert facts["is_before_compression"] is False
    assert facts["files"] == [{"name": "code/service.py", "old": 4, "new": 7}]
    assert len(facts["layers"]["kept"]) == 3


@pytest.mark.engine
def test_the_bytes_of_a_push_are_those_that_a_registry_is_sent(
    made: Any, make: Any, compare: Compare, tmp_path: Path
) -> None:
    """What skopeo stores for b, beside a, in the same repository: exactly what was predicted."""
    if shutil.which("skopeo") is None:
        pytest.skip("'skopeo' is not installed")
    a, b = make(), make(code=os.urandom(4000), env="A=2")
    predicted = compare(a, b).push_bytes
    repository = f"{os.environ['ENGINE_REGISTRY']}/modelpack-test/diff-{uuid.uuid4().hex[:12]}"
    for number, tag in enumerate(("a", "b")):
        words = ["--preserve-digests", "--dest-tls-verify=false"]
        place = [f"oci:{tmp_path / str(number)}", f"docker://{repository}:{tag}"]
        command = ["skopeo", "--insecure-policy", "copy", "--quiet", *words, *place]
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    looked = []
    for tag in ("a", "b"):
        with open_image(f"registry:{repository}:{tag}") as found:
            looked.append(found)
    stored = [
        {layer.blob for layer in one.layers} | {one.config_blob, one.document.blob}
        for one in looked
    ]
    assert sum(blob.size for blob in stored[1] - stored[0]) == predicted
