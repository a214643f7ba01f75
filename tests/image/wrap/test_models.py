"""A model becomes a bundle that any builder makes an image of; nothing that it brings is run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack.config.settings import ImageSettings
from modelpack.errors import NotFoundError, UsageError
from modelpack.image import plan_image
from modelpack.image.wrap import bundle_around
from modelpack.store import Kind, Store

Pack = Callable[..., Path]

ONNX = {"data": "model.onnx"}
PICKLED = {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}
INPUTS: list[dict[str, Any]] = [
    {"type": "tensor", "name": "x", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}
]


def test_a_model_file_is_a_bundle_without_code(model: Path, store: Store) -> None:
    entry = bundle_around(model, store)
    manifest = store.bundle_manifest(entry)

    assert entry.tag.name == "doubler"
    assert (manifest.model, manifest.service, manifest.program) == ("doubler", None, None)
    assert [api["route"] for api in manifest.apis] == ["/predict"]
    assert plan_image(store, entry, ImageSettings()).models == ("doubler",)


def test_what_it_is_called_does_not_matter(model: Path, store: Store) -> None:
    """As with ``modelpack serve FILE``."""
    entry = bundle_around(model, store)
    assert bundle_around(model.rename(model.with_suffix(".bin")), store).digest == entry.digest


def test_it_may_have_another_name(model: Path, store: Store) -> None:
    assert bundle_around(model, store, name="twice").tag.name == "twice"


def test_the_same_model_is_the_same_bundle(model: Path, store: Store) -> None:
    assert bundle_around(model, store).digest == bundle_around(model, store).digest
    assert len(store.list(Kind.BUNDLE)) == 1


def test_an_mlflow_folder_with_onnx_is_served_as_it_is(mlflow: Pack, store: Store) -> None:
    entry = bundle_around(mlflow({"onnx": ONNX, "python_function": {"loader_module": "x"}}), store)
    assert store.bundle_manifest(entry).model == "from-mlflow"


def test_a_pickle_in_an_mlflow_folder_gets_a_service_and_is_not_loaded(
    mlflow: Pack, store: Store, tmp_path: Path
) -> None:
    entry = bundle_around(mlflow({"sklearn": PICKLED}, INPUTS), store)
    manifest = store.bundle_manifest(entry)

    assert manifest.service is not None
    assert manifest.carries_code
    assert not (tmp_path / "ran").exists()


def test_a_model_whose_inputs_nobody_knows_needs_a_service(mlflow: Pack, store: Store) -> None:
    with pytest.raises(UsageError, match="holds no model that serves itself") as caught:
        bundle_around(mlflow({"sklearn": PICKLED}), store)
    assert "modelpack init" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["model.pkl", "model.pt", "notes.txt"])
def test_a_file_that_says_nothing_of_itself_is_refused(
    tmp_path: Path, store: Store, name: str
) -> None:
    file = tmp_path / name
    file.write_bytes(b"\x80\x04.")
    with pytest.raises(UsageError, match="nothing says what goes in and out") as caught:
        bundle_around(file, store)
    assert "modelpack init" in str(caught.value.hint)
    assert store.list() == []


def test_what_is_not_there_is_said(tmp_path: Path, store: Store) -> None:
    with pytest.raises(NotFoundError, match="no file or folder"):
        bundle_around(tmp_path / "model.onnx", store)
