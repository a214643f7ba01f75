"""An image of a bundle that brings packages of its own: which are installed, and from where."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from modelpack.archive.platforms import host_platform
from modelpack.config.settings import ImageSettings
from modelpack.image import ImagePlan, plan_image, write_context
from modelpack.image.dockerfile import instructions_of, render_dockerfile
from modelpack.manifest import BundleManifest, FileRecord
from modelpack.store import Entry, Store

PlanOf = Callable[..., ImagePlan]
HASH = "0a" * 32
OTHER = "linux_aarch64" if host_platform().machine == "x86_64" else "linux_x86_64"


def lock_of(*packages: str) -> str:
    lines = [f"{package} \\\n    --hash=sha256:{HASH}\n" for package in packages]
    return "# a lock\n" + "".join(lines)


@pytest.fixture
def bundle(store: Store, tmp_path: Path) -> Callable[..., Entry]:
    """Return a function that stores a bundle with a lock and with wheels of these names."""

    def make(lock: str, *names: str) -> Entry:
        root = tmp_path / "project"
        root.mkdir(exist_ok=True)
        (root / "service.py").write_bytes(b"")
        places = {}
        for name in names:
            places[name] = root / name
            places[name].write_bytes(name.encode())
        manifest = BundleManifest(
            service="service:Digits",
            model=None,
            python="3.11",
            files=(record("service.py", b""),),
            models=(),
            lock_sha256=hashlib.sha256(lock.encode()).hexdigest(),
            apis=(),
            wheels=tuple(record(name, name.encode()) for name in sorted(names)),
        )
        added = store.add_bundle(
            "digits", manifest, root=root, lock=lock, wheels=places, version="1"
        )
        return added.entry

    return make


def record(path: str, data: bytes) -> FileRecord:
    return FileRecord(
        path=path, mode=0o644, size=len(data), sha256=hashlib.sha256(data).hexdigest()
    )


@pytest.fixture
def plan_of(store: Store, bundle: Callable[..., Entry]) -> PlanOf:
    def plan(lock: str, *names: str) -> ImagePlan:
        return plan_image(store, bundle(lock, *names), ImageSettings())

    return plan


def installs(plan: ImagePlan) -> list[str]:
    """Return the arguments of the command that installs the lock."""
    commands = [part for one in instructions_of(plan) if one.keyword == "RUN" for part in one.parts]
    return next(list(one) for one in commands if "--require-hashes" in one)


def test_a_bundle_without_wheels_is_installed_from_the_index(plan_of: PlanOf) -> None:
    plan = plan_of(lock_of("tiny==1.0"))
    assert not {"--find-links", "--no-index"} & set(installs(plan))
    assert render_dockerfile(plan).count("FROM") == 1


def test_all_wheels_inside_means_no_index_at_all(plan_of: PlanOf) -> None:
    plan = plan_of(lock_of("tiny==1.0"), "tiny-1.0-py3-none-any.whl")
    assert plan.is_wheelhouse
    assert {"--find-links", "--no-index", "--require-hashes"} <= set(installs(plan))
    assert "ARG PIP_INDEX_URL" not in render_dockerfile(plan)


def test_some_wheels_inside_are_taken_before_an_index_is_asked(plan_of: PlanOf) -> None:
    plan = plan_of(lock_of("corp-lib==1.0", "tiny==1.0"), "corp_lib-1.0-py3-none-any.whl")
    assert (plan.has_wheels, plan.is_wheelhouse) == (True, False)
    assert "--find-links" in installs(plan)
    assert "--no-index" not in installs(plan)


@pytest.mark.parametrize("name", [f"tiny-1.0-cp311-cp311-{OTHER}.whl", "tiny-2.0-py3-none-any.whl"])
def test_a_wheel_that_is_not_for_this_image_does_not_count(plan_of: PlanOf, name: str) -> None:
    assert not plan_of(lock_of("tiny==1.0"), name).is_wheelhouse


def test_the_wheels_stay_behind_in_a_stage_of_their_own(plan_of: PlanOf) -> None:
    plan = plan_of(lock_of("tiny==1.0"), "tiny-1.0-py3-none-any.whl")
    last = render_dockerfile(plan).rpartition("\nFROM ")[2]
    assert "wheels" not in last
    assert 'COPY --from=packages ["/bundle/venv/", "/bundle/venv/"]' in last


def test_the_context_has_the_wheels(plan_of: PlanOf, store: Store, tmp_path: Path) -> None:
    plan = plan_of(lock_of("tiny==1.0"), "tiny-1.0-py3-none-any.whl")
    folder = write_context(plan, store, tmp_path / "context")
    assert [file.name for file in (folder / "wheels").iterdir()] == ["tiny-1.0-py3-none-any.whl"]


def test_wheels_do_not_count_as_code(plan_of: PlanOf) -> None:
    plan = plan_of(lock_of("a==1"), "a-1-py3-none-any.whl")
    sizes = {one.path: one.size for one in plan.entry.layers}
    assert list(sizes) == ["bundle/requirements.lock", "bundle/wheels", "bundle/code"]
    assert plan.layers[-1].size_bytes == sum(sizes.values()) - sizes["bundle/wheels"]


def test_torch_from_an_index_of_its_own_is_said(plan_of: PlanOf) -> None:
    lock = lock_of("torch==2.9.0+cpu")
    assert any("--with-wheels" in warning for warning in plan_of(lock).warnings)
