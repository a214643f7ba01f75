"""Plans for both platforms are compared with files that people read in review (``golden/plans/``).

The locks were resolved for linux/amd64 and linux/arm64 together; one hash of each package is left.
Sizes are those of this machine and stay out.  After a change that is meant,
``WRITE_GOLDEN=1 pytest tests/image/test_golden_plans.py`` writes the files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelpack.archive.platforms import Platform
from modelpack.config.settings import ImageSettings
from modelpack.image import ImagePlan, plan_image, render_dockerfile
from modelpack.store import Entry, Store
from modelpack.version import __version__

GOLDEN = Path(__file__).parent / "golden"
AMD64, ARM64 = Platform("x86_64"), Platform("aarch64")
CASES = {
    "cpu-platforms": ("cpu-platforms", "3.11", None),
    "torch-platforms": ("torch-platforms", "3.11", None),
    "jax-platforms": ("jax-platforms", "3.12", None),
    "cuda-platforms": ("cpu-platforms", "3.12", "13.0"),
}
"""Lock, Python and the CUDA that is asked for."""

MakeBundle = Callable[..., Entry]


def planned(name: str, platform: Platform, store: Store, make_bundle: MakeBundle) -> ImagePlan:
    lock, python, cuda = CASES[name]
    entry = make_bundle(lock, python=python)
    plan = plan_image(store, entry, ImageSettings(), cuda=cuda, platform=platform)
    digest = "sha256:" + "0" * 64
    labels = {**plan.labels, "dev.modelpack.bundle.digest": digest}
    return replace(plan, entry=replace(plan.entry, digest=digest), labels=labels)


def reviewable(plan: ImagePlan) -> str:
    """Return the plan as JSON, without what depends on this machine or on the release."""
    value: dict[str, Any] = plan.to_json()
    del value["size_bytes"], value["unknown"]
    for layer in value["layers"]:
        del layer["size_bytes"], layer["unknown"]
        if "packages" in layer:
            packages = [f"{one['name']} {one['version']}" for one in layer["packages"]]
            layer["packages"] = sorted(packages)
    return json.dumps(value, indent=2).replace(__version__, "VERSION") + "\n"


def compared(text: str, golden: Path) -> None:
    if os.environ.get("WRITE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("platform", [AMD64, ARM64], ids=lambda platform: platform.name[6:])
@pytest.mark.parametrize("name", CASES)
def test_the_plan_is_the_one_that_was_reviewed(
    store: Store, make_bundle: MakeBundle, name: str, platform: Platform
) -> None:
    plan = planned(name, platform, store, make_bundle)

    compared(reviewable(plan), GOLDEN / "plans" / f"{name}-{platform.name[6:]}.json")


@pytest.mark.parametrize("name", CASES)
def test_the_dockerfile_for_arm_is_the_one_that_was_reviewed(
    store: Store, make_bundle: MakeBundle, name: str
) -> None:
    text = render_dockerfile(planned(name, ARM64, store, make_bundle))

    compared(text.replace(__version__, "VERSION"), GOLDEN / f"{name}-arm64.Dockerfile")


def test_torch_brings_cuda_on_one_processor_and_not_on_the_other(
    store: Store, make_bundle: MakeBundle
) -> None:
    """The markers of its lock decide, so the images differ: only one of them asks for a GPU."""
    amd64 = planned("torch-platforms", AMD64, store, make_bundle)
    arm64 = planned("torch-platforms", ARM64, store, make_bundle)

    assert amd64.base.has_gpu
    assert amd64.env["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert not arm64.base.has_gpu
    assert "NVIDIA_VISIBLE_DEVICES" not in arm64.env
    assert arm64.base.reason == "no package of the lock needs a GPU"


def test_cuda_comes_as_wheels_for_arm_servers_too(store: Store, make_bundle: MakeBundle) -> None:
    plan = planned("jax-platforms", ARM64, store, make_bundle)

    assert plan.base.image == "python:3.12-slim"
    assert plan.base.has_gpu
    assert "brings CUDA 13.5 as wheels" in plan.base.reason
    assert plan.warnings == ()
