"""What a finished image says and holds, read with nothing but the standard library."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelpack.archive.platforms import Platform
from modelpack.image import ImagePlan
from modelpack.image.direct import DirectResult
from modelpack.image.plan import VENV_PYTHON
from modelpack.store import Store

Build = Callable[..., DirectResult]


def test_the_blobs_of_the_bundle_are_layers_unchanged(
    build: Build, tiny: ImagePlan, read_layout: Any, tmp_path: Path
) -> None:
    made = build(tiny)

    manifest, config, _ = read_layout(tmp_path / "out").image(made.digest)
    packages = {one.digest for one in tiny.entry.layers if one.path == "bundle/wheels"}
    own = [one.digest for one in tiny.entry.layers if one.digest not in packages]
    listed = [layer["digest"] for layer in manifest["layers"]]
    assert listed[-len(own) :] == own
    assert config["rootfs"]["diff_ids"][-len(own) :] == own
    assert packages
    assert not packages & {*listed}


def test_no_layer_of_ours_writes_outside_its_folder(
    build: Build, tiny: ImagePlan, read_layout: Any, tmp_path: Path
) -> None:
    """One entry ``lib/`` would take the place of the base's link, and no program would start."""
    made = build(tiny)

    _, _, tars = read_layout(tmp_path / "out").image(made.digest)
    names = [
        name
        for data in tars[2:]
        for name in tarfile.open(fileobj=io.BytesIO(data)).getnames()  # noqa: SIM115
    ]
    assert {name.split("/")[0] for name in names} == {"bundle"}
    assert "bundle/venv/bin/python" in names
    assert "bundle/bundle.json" in names


def test_the_config_runs_what_the_plan_says(
    bases: Any, build: Build, tiny: ImagePlan, read_layout: Any, tmp_path: Path
) -> None:
    settings = {
        "Env": ["PATH=/usr/local/bin", "LANG=C.UTF-8", "MODELPACK_PORT=1", "HOME=/root"],
        "Cmd": ["python3"],
        "Entrypoint": ["/start"],
        "Labels": {"from": "base", "dev.modelpack.tag": "of the base"},
        "OnBuild": ["RUN true"],
        "User": "root",
    }
    base = bases.usual(settings=settings, author="somebody", container="deadbeef")
    plan = replace(tiny, env={**tiny.env, "GREETING": "a=b"}, other_ports={"grpc": 8001})

    made = build(plan, base=base)

    _, config, _ = read_layout(tmp_path / "out").image(made.digest)
    said = config["config"]
    env = dict(pair.partition("=")[::2] for pair in said["Env"])
    assert len(env) == len(said["Env"])
    assert env == {"PATH": "/usr/local/bin", "LANG": "C.UTF-8", **plan.env}
    assert said["Entrypoint"] == [VENV_PYTHON, "-I", "-u", "-m", "modelpack.server"]
    assert said["User"] == "65532:65532"
    assert said["WorkingDir"] == "/bundle"
    assert said["StopSignal"] == "SIGTERM"
    assert said["ExposedPorts"] == {"3000/tcp": {}, "8001/tcp": {}}
    assert said["Healthcheck"]["Test"] == ["CMD", *plan.health_check]
    assert said["Labels"].items() >= {"from": "base", **plan.labels}.items() - {
        ("org.opencontainers.image.base.name", plan.base.image)
    }
    assert not {"Cmd", "OnBuild"} & said.keys()
    assert config["author"] == "somebody"
    assert "container" not in config


def test_health_is_looked_at_as_often_as_in_the_dockerfile(
    build: Build, tiny: ImagePlan, read_layout: Any, tmp_path: Path
) -> None:
    from modelpack.image import render_dockerfile

    _, config, _ = read_layout(tmp_path / "out").image(build(tiny).digest)

    said = config["config"]["Healthcheck"]
    flags = {
        "--interval": said["Interval"],
        "--timeout": said["Timeout"],
        "--start-period": said["StartPeriod"],
    }
    text = render_dockerfile(tiny)
    assert all(f"{flag}={value // 10**9}s" in text for flag, value in flags.items())
    assert f"--retries={said['Retries']}" in text


def test_every_layer_has_its_line_of_history(
    bases: Any, build: Build, tiny: ImagePlan, read_layout: Any, tmp_path: Path
) -> None:
    past = [
        {"created_by": "ADD rootfs"},
        {"created_by": "ENV X", "empty_layer": True},
        {"created_by": "RUN make"},
    ]

    made = build(tiny, base=bases.usual(history=past))

    manifest, config, _ = read_layout(tmp_path / "out").image(made.digest)
    lines = [one for one in config["history"] if not one.get("empty_layer")]
    assert config["history"][:3] == past
    assert len(lines) == len(manifest["layers"])
    assert all(one["created_by"].startswith("modelpack: ") for one in lines[2:])
    assert {one["created"] for one in lines[2:]} == {config["created"]} == {"1970-01-01T00:00:00Z"}


@pytest.mark.parametrize("past", [[{"created_by": "one line for two layers"}], None])
def test_a_base_whose_history_does_not_fit_gets_one_that_does(
    bases: Any, build: Build, tiny: ImagePlan, read_layout: Any, past: Any
) -> None:
    made = build(tiny, base=bases.usual(history=past))

    manifest, config, _ = read_layout(bases.root / "out").image(made.digest)
    assert len(config["history"]) == len(manifest["layers"])


def test_labels_name_the_base_by_digest_and_no_path_of_this_machine(
    bases: Any, build: Build, tiny: ImagePlan, read_layout: Any, tmp_path: Path
) -> None:
    made = build(tiny)

    layout = read_layout(tmp_path / "out")
    manifest, config, _ = layout.image(made.digest)
    labels = config["config"]["Labels"]
    base = read_layout(tmp_path / "base-1").named()["latest"]["digest"]
    assert labels["org.opencontainers.image.base.digest"] == base
    assert labels["dev.modelpack.bundle.digest"] == tiny.entry.digest
    assert "org.opencontainers.image.base.name" not in labels
    assert manifest["annotations"].items() <= labels.items()
    for one in layout.index["manifests"]:
        assert str(tmp_path).encode() not in layout.blob(one["digest"])
        assert str(tmp_path).encode() not in layout.blob(
            layout.json(one["digest"])["config"]["digest"]
        )


def test_packages_can_be_stored_compressed(
    build: Build, tiny: ImagePlan, read_layout: Any, tmp_path: Path
) -> None:
    """All that is made here and nothing of the bundle, without a change to what is in it."""
    plain = build(tiny, outputs=[f"oci:{tmp_path / 'plain'}"])
    packed = build(tiny, outputs=[f"oci:{tmp_path / 'packed'}"], compress=True)

    manifest, config, _ = read_layout(tmp_path / "packed").image(packed.digest)
    _, before, _ = read_layout(tmp_path / "plain").image(plain.digest)
    kinds = [layer["mediaType"].rpartition(".")[2] for layer in manifest["layers"]]
    made = len(kinds) - len([one for one in tiny.entry.layers if one.path != "bundle/wheels"])
    assert {*kinds[:made]} == {"tar+gzip"}
    assert {*kinds[made:]} == {"tar"}
    assert config["rootfs"] == before["rootfs"]
    assert packed.size_bytes < plain.size_bytes


def test_a_wrapped_program_needs_no_layer_of_ours_but_its_own(
    bases: Any, build: Build, store: Store, read_layout: Any, tmp_path: Path
) -> None:
    from modelpack.config.settings import ImageSettings
    from modelpack.image import plan_image
    from modelpack.image.wrap import bundle_of_program

    program = tmp_path / "answer"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    entry = bundle_of_program(program, store, port=8080, arguments=["--fast"], name="answer")
    plan = plan_image(store, entry, ImageSettings(), platform=Platform("x86_64"))

    made = build(plan, base=bases.write(bases.manifest(bases.slim(python="3.12.1"))))

    manifest, config, _ = read_layout(tmp_path / "out").image(made.digest)
    own = [layer["digest"] for layer in manifest["layers"]][2:]
    assert own == [layer.digest for layer in entry.layers]
    assert config["config"]["Entrypoint"][-2:] == ["/bundle/code/bin/answer", "--fast"]
    assert config["config"]["ExposedPorts"] == {"8080/tcp": {}}
