"""An image of a bundle with all its packages inside, built by an engine that has no network."""

from __future__ import annotations

import os
import sys
import uuid
from pathlib import Path

import pytest

from modelpack.archive import Locking, build_bundle
from modelpack.config.settings import ImageSettings, Project
from modelpack.image import connect, plan_image, write_context
from modelpack.sdk.loading import load_import_string
from modelpack.store import Store

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.slow]

MODULE = f"sealed_{uuid.uuid4().hex[:8]}"
SERVICE = """
import modelpack


@modelpack.service
class Sealed:
    @modelpack.api
    def greet(self, name: str) -> str:
        return f"hello {name}"
"""


def test_an_image_is_built_with_the_network_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / f"{MODULE}.py").write_text(SERVICE)
    store = Store(tmp_path / "store")
    spec = load_import_string(f"{MODULE}:Sealed", tmp_path / "project")
    project = Project(root=tmp_path / "project", name="sealed")
    built = build_bundle(project, spec, store=store, locking=Locking(with_wheels=True))
    plan = plan_image(store, built.entry, ImageSettings(), base=os.environ["ENGINE_BASE_IMAGE"])
    assert plan.is_wheelhouse

    context = write_context(plan, store, tmp_path / "context")
    name = f"modelpack-test-{MODULE}".replace("_", "-")
    with connect() as engine:
        try:
            said = list(
                engine.build(path=str(context), tag=name, network_mode="none", rm=True, decode=True)
            )
            assert not [event for event in said if "error" in event]
            layers = engine.history(name)
            assert not any("wheels" in layer["CreatedBy"] for layer in layers)
        finally:
            engine.remove_image(name, force=True)
