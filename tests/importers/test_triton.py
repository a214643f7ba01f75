"""Triton model repositories."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from modelpack.errors import RefusedError
from modelpack.importers.triton import TritonImporter

Pack = Callable[..., Path]


def test_the_newest_version_of_each_model_is_taken(triton: Pack, tmp_path: Path) -> None:
    found = TritonImporter().read(triton(), tmp_path)
    (model,) = found.models

    assert (model.name, model.version, model.framework) == ("digits", "10", "onnx")
    assert model.place.parts[-2:] == ("10", "model.onnx")
    assert model.max_batch_size == 16
    assert model.inputs == ({"name": "x", "dtype": "float32", "shape": [None, 2]},)


def test_what_is_not_carried_over_is_told_with_its_reason(triton: Pack, tmp_path: Path) -> None:
    (model,) = TritonImporter().read(triton(), tmp_path).models
    left = {one.what: one.why for one in model.left}

    assert "learned" in left["digits: dynamic_batching"]
    assert "10, was taken" in left["digits: version 1, 2"]


def test_a_model_alone_is_read_as_well_and_needs_no_config(triton: Pack, tmp_path: Path) -> None:
    folder = triton(config=None) / "digits"

    assert TritonImporter().recognises(folder)
    assert TritonImporter().read(folder, tmp_path).models[0].inputs == ()


def test_without_a_batch_axis_the_dims_are_all(triton: Pack, tmp_path: Path) -> None:
    config = 'input { name: "x" data_type: TYPE_INT64 dims: [ -1, 3 ] }'
    (model,) = TritonImporter().read(triton(config), tmp_path).models

    assert model.inputs[0]["shape"] == [None, 3]
    assert model.max_batch_size is None


def test_a_kind_of_model_that_nobody_loads_is_left(triton: Pack, tmp_path: Path) -> None:
    repository = triton('name: "d" platform: "tensorrt_plan"', file="model.plan")
    found = TritonImporter().read(repository, tmp_path)

    assert found.models == ()
    assert found.left[0].why == "no adapter loads a model 'tensorrt_plan'"


def test_an_unknown_field_is_told(triton: Pack, tmp_path: Path) -> None:
    (model,) = TritonImporter().read(triton("ensemble_wizardry { a: 1 }"), tmp_path).models

    assert "digits: ensemble_wizardry" in {one.what for one in model.left}


@pytest.mark.parametrize("config", ["name: ", "input: 5"])
def test_a_broken_config_is_refused_by_its_name(triton: Pack, tmp_path: Path, config: str) -> None:
    with pytest.raises(RefusedError, match=r"config\.pbtxt"):
        TritonImporter().read(triton(config), tmp_path)


def test_a_folder_without_models_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()

    assert not TritonImporter().recognises(tmp_path)
