"""An unpacked bundle opens as the service it was built from."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelpack.errors import ModelNotFoundError, StoreError
from modelpack.frameworks.bundled import BundledModels, open_bundle
from modelpack.frameworks.catalog import framework
from modelpack.manifest import BundleManifest, ModelRecord, canonical_json
from modelpack.sdk.model import using_source
from modelpack.tag import Tag

SERVICE = """
import modelpack

@modelpack.service
class Lookup:
    table = modelpack.Model("table:v1")

    @modelpack.api
    def get(self, key: str) -> int:
        return self.table[key]
"""


@pytest.fixture
def bundle(tmp_path: Path) -> Iterator[Path]:
    path, modules = list(sys.path), set(sys.modules)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "service.py").write_text(SERVICE)
    folder = tmp_path / "models" / "table"
    folder.mkdir(parents=True)
    saved = framework("pickled").save({"a": 1}, folder)
    record = ModelRecord(
        name="table",
        framework="pickled",
        files=(),
        carries_code=True,
        requirements=saved.requirements,
    )
    (folder / "model.json").write_bytes(canonical_json(record.to_json()))
    write(tmp_path, service="service:Lookup", model=None)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(folder: Path, *, service: str | None, model: str | None) -> None:
    manifest = BundleManifest(
        service=service,
        model=model,
        python="3.11",
        files=(),
        models=(),
        lock_sha256="",
        apis=(),
    )
    (folder / "bundle.json").write_bytes(canonical_json(manifest.to_json()))


def test_the_service_gets_its_model_from_the_bundle(bundle: Path) -> None:
    with using_source(BundledModels(bundle)):
        assert open_bundle(bundle).create().get("a") == 1


def test_the_version_in_the_code_does_not_matter_any_more(bundle: Path) -> None:
    models = BundledModels(bundle)
    assert models.folder(Tag("table", "other")) == models.folder(Tag("table"))


def test_a_model_that_is_not_in_the_bundle_is_suggested(bundle: Path) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        BundledModels(bundle).folder(Tag("tables"))
    assert caught.value.hint == "did you mean 'table'?"


def test_a_folder_that_is_no_bundle_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"bundle\.json"):
        open_bundle(tmp_path)
    write(tmp_path, service=None, model=None)
    with pytest.raises(StoreError, match="neither"):
        open_bundle(tmp_path)
