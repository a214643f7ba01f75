from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from modelpack.image.looking import Looked, look
from modelpack.image.looking.contents import FileFacts, LayerContents
from modelpack.image.looking.described import what_of
from modelpack.image.reading import Kind, open_image

SITE = "bundle/venv/lib/python3.11/site-packages"
HISTORY = [
    {"created": "2026-01-01T00:00:00Z", "created_by": "base"},
    {"created_by": "/bin/sh -c #(nop)  ENV A=b", "empty_layer": True},
    {"created_by": "COPY  x\n y"},
    {"created_by": "model"},
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELPACK_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def image(made: Any) -> Any:
    """A base, a layer of packages that replaces a file of it, a model."""
    record = f"{SITE}/foo-1.0.dist-info/RECORD"
    return made.Made(
        [
            made.tar(made.file("usr/bin/python3", b"p" * 500), made.file("etc/x", b"old" * 10)),
            made.tar(
                made.folder(f"{SITE}/foo-1.0.dist-info"),
                made.file(f"{SITE}/foo.py", b"f" * 300),
                made.file(record, b"foo.py,,300\n"),
                made.file("etc/x", b"new"),
            ),
            made.tar(made.file("bundle/models/m/weights", b"w" * 9000)),
        ],
        {
            "Entrypoint": ["/bundle/venv/bin/python"],
            "ExposedPorts": {"3000/tcp": {}},
            "Labels": {"dev.modelpack.tag": "x:1", "dev.modelpack.bundle.digest": "sha256:0"},
            "User": "65532:65532",
        },
        gzipped=[2],
        history=HISTORY,
    )


def looked_at(reference: str) -> Looked:
    with open_image(reference) as found:
        return look(found)


def test_everything_of_an_image_is_said_in_plain_values(
    made: Any, image: Any, tmp_path: Path
) -> None:
    reference = f"oci:{made.layout(tmp_path / 'l', x=image)}"

    with open_image(reference) as found:
        facts = json.loads(json.dumps(look(found).to_json()))

    assert facts["digest"] == made.digest(image.manifest)
    assert facts["id"] == made.digest(image.config)
    assert facts["platform"] == "linux/amd64"
    assert facts["bundle"] == {"tag": "x:1", "digest": "sha256:0"}
    assert facts["ports"] == ["3000/tcp"]
    assert facts["packages"] == [
        {"name": "foo", "version": "1.0", "size_bytes": 300, "place": SITE}
    ]
    assert facts["models"] == {"m": 9000}
    assert facts["largest"][0] == {"path": "bundle/models/m/weights", "size_bytes": 9000}
    layers = facts["layers"]
    assert [one["what"] for one in layers] == ["system", "Python packages", "model m"]
    assert [one["unpacked_bytes"] for one in layers] == [530, 315, 9000]
    assert [one["hidden_bytes"] for one in layers] == [30, 0, 0]
    assert [one["size_bytes"] for one in layers] == [len(data) for data in image.layers]
    assert facts["size_bytes"] == sum(map(len, image.blobs))
    assert facts["unpacked_bytes"] == 530 + 315 + 9000


def test_a_history_goes_with_its_layers(made: Any, image: Any, tmp_path: Path) -> None:
    looked = looked_at(f"oci:{made.layout(tmp_path / 'l', x=image)}")

    steps = [(one.created_by, one.layer.what if one.layer else None) for one in looked.history()]

    assert steps == [
        ("base", "system"),
        ("ENV A=b", None),
        ("COPY x y", "Python packages"),
        ("model", "model m"),
    ]


@pytest.mark.parametrize("history", [[], HISTORY[:2], [*HISTORY, {}, {}]])
def test_a_history_that_does_not_fit_is_left_out(
    made: Any, image: Any, tmp_path: Path, history: list[dict[str, Any]]
) -> None:
    image.history = history

    looked = looked_at(f"oci:{made.layout(tmp_path / 'l', x=image)}")

    assert [one.created_by for one in looked.history()] == ["", "", ""]
    assert all(one.layer is not None for one in looked.history())


def test_a_manifest_that_we_made_has_no_digest_to_show(
    made: Any, image: Any, tmp_path: Path
) -> None:
    archive = made.docker_archive(tmp_path / "d.tar", x=image)

    facts = looked_at(f"docker-archive:{archive}").to_json()

    assert facts["digest"] is None
    assert facts["id"] == made.digest(image.config)


def test_statements_about_an_image_are_listed(made: Any, image: Any, tmp_path: Path) -> None:
    """And those about something else are not."""
    statements = []
    for subject in (image.manifest, b"another"):
        value = {
            "schemaVersion": 2,
            "mediaType": made.MANIFEST,
            "artifactType": "application/vnd.in-toto+json",
            "config": made.described(b"{}", "application/vnd.oci.empty.v1+json"),
            "layers": [made.described(b"{}", "application/json")],
            "subject": made.described(subject, made.MANIFEST),
        }
        statements.append(json.dumps(value).encode())
    top = made.write_layout(
        tmp_path / "l",
        [*image.blobs, *statements, b"{}"],
        [
            made.described(image.manifest, made.MANIFEST),
            *(
                made.described(one, made.MANIFEST, artifactType="application/vnd.in-toto+json")
                for one in statements
            ),
        ],
    )

    with open_image(f"oci:{top}") as found:
        said = look(found).referrers()

    assert said == [
        {
            "kind": "application/vnd.in-toto+json",
            "digest": made.digest(statements[0]),
            "size_bytes": len(statements[0]),
        }
    ]


def test_every_platform_of_an_index_is_named(made: Any, image: Any, tmp_path: Path) -> None:
    arm = made.Made(image.tars, architecture="arm64")
    index = made.index_of(amd64=image, arm64=arm)
    blobs = [index, *image.blobs, *arm.blobs]
    top = made.write_layout(tmp_path / "l", blobs, [made.described(index, made.INDEX)])

    assert looked_at(f"oci:{top}").platforms == ("linux/amd64", "linux/arm64")


@pytest.mark.parametrize(
    ("files", "created_by", "what"),
    [
        ({}, "", "nothing"),
        ({f"{SITE}/a/__pycache__/x.pyc": 100}, "", "bytecode"),
        ({f"{SITE}/a/x.py": 100, f"{SITE}/a/__pycache__/x.pyc": 50}, "", "Python packages"),
        ({"bundle/code/s.py": 5, "bundle/bundle.json": 3}, "", "code"),
        ({"bundle/requirements.lock": 5}, "", "the lock"),
        ({"bundle/requirements.lock": 50, "bundle/bundle.json": 30}, "", "code"),
        ({f"{SITE}/modelpack/a.py": 99, "bundle/venv/pyvenv.cfg": 3}, "", "server"),
        ({f"{SITE}/modelpack/a.py": 3, f"{SITE}/b/a.py": 99}, "", "Python packages"),
        ({"bundle/doc/README.md": 9}, "", "documents"),
        ({"bundle/models/m/w": 9, "bundle/code/s.py": 5}, "", "model m, code"),
        ({"opt/thing": 5}, "RUN apt-get update && apt-get install --yes x", "system packages"),
        ({"opt/thing": 5}, "", "other files"),
    ],
)
def test_a_layer_is_called_by_what_it_brings(
    files: dict[str, int], created_by: str, what: str
) -> None:
    facts = {path: FileFacts(Kind.FILE, size, 0o644) for path, size in files.items()}

    assert what_of(LayerContents("sha256:", files=facts), created_by) == what


def test_a_layer_that_only_takes_away_says_so() -> None:
    assert what_of(LayerContents("sha256:", whiteouts=["x"]), "") == "takes files away"


@pytest.mark.engine
def test_a_real_base_is_read_as_it_is_in_a_container() -> None:
    """The paths, kinds and sizes that its own ``find`` tells."""
    base = os.environ["ENGINE_BASE_IMAGE"]
    program = os.environ.get("ENGINE_DOCKER_CLI", "docker")
    command = [program, "run", "--rm", "--network", "none", "--entrypoint", "find", base]
    listing = [*command, "/usr", "/var", "/opt", "-printf", "%P\\t%y\\t%s\\t%H\\n"]
    done = subprocess.run(listing, capture_output=True, text=True, timeout=120, check=True)

    looked = looked_at(f"engine:{base}")

    theirs = {}
    for line in done.stdout.splitlines():
        path, kind, size, top = line.split("\t")
        theirs[f"{top[1:]}/{path}".rstrip("/")] = (kind, int(size) if kind == "f" else 0)
    kinds = {Kind.FILE: "f", Kind.FOLDER: "d", Kind.SYMLINK: "l", Kind.HARDLINK: "f"}
    ours = {
        path: (kinds[one.facts.kind], one.facts.size)
        for path, one in looked.tree.files.items()
        if re.match(r"(usr|var|opt)(/|$)", path)
    }
    linked = {path for path, one in looked.tree.files.items() if one.facts.kind is Kind.HARDLINK}
    assert ours.keys() == theirs.keys()
    assert {path: ours[path] for path in ours.keys() - linked} == {
        path: theirs[path] for path in theirs.keys() - linked
    }
    assert len(ours) > 1000
