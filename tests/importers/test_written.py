"""The service that is written around a model: it is what a person would have written."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from modelpack.importers.base import ForeignModel
from modelpack.importers.written import can_be_written, write_project
from modelpack.sdk.loading import load_import_string


def model(framework: str, *inputs: Mapping[str, Any], **more: Any) -> ForeignModel:
    return ForeignModel(
        name="my-model.v2", version="3", framework=framework, place=Path(),
        inputs=inputs, labels={"imported_from": "triton"}, **more,
    )  # fmt: skip


def tensor(name: str, *shape: int | None, dtype: str = "float32") -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": list(shape)}


IMAGE = tensor("class", None, 3, 8)


@pytest.mark.parametrize(
    ("framework", "inputs", "line"),
    [
        ("sklearn", [tensor("x", None, 4)], "return self.model.predict(x)"),
        ("torch", [IMAGE], "return self.model(torch.from_numpy(class_)).numpy()"),
        ("tensorflow", [IMAGE, tensor("x", None)], "self.model.run({'class': class_, 'x': x})"),
        (
            "mlflow",
            [tensor("a b", None), tensor("1", None)],
            "self.model.predict(pandas.DataFrame(rows, columns=['a b', '1']))",
        ),
    ],
)
def test_each_framework_is_called_in_its_own_way(
    tmp_path: Path, framework: str, inputs: list[dict[str, Any]], line: str
) -> None:
    one = model(framework, *inputs, max_batch_size=8)
    assert can_be_written(one)
    project = write_project(one, tmp_path)
    text = (tmp_path / "my_model_v2_service.py").read_text()

    assert line in ast.unparse(ast.parse(text))
    assert 'modelpack.Model("my-model.v2:3")' in text
    spec = load_import_string(str(project.service), project.root)
    assert [api.route for api in spec.apis] == ["/predict"]
    assert spec.apis[0].batch is not None
    assert spec.apis[0].batch.max_batch_size == 8


@pytest.mark.parametrize(
    "one",
    [
        model("sklearn"),
        model("sklearn", tensor("x", 4, 4)),  # its first axis is no batch
        model("sklearn", tensor("x")),
        model("sklearn", tensor("x", None, dtype="")),
        model("sklearn", tensor("()", None)),
        model("unheard-of", tensor("x", None)),
    ],
)
def test_where_too_little_is_known_nothing_is_written(one: ForeignModel) -> None:
    assert not can_be_written(one)


def test_a_known_answer_is_an_array(tmp_path: Path) -> None:
    one = model("sklearn", tensor("x", None, 2), outputs=(tensor("y", None, 3, dtype="int64"),))
    write_project(one, tmp_path)

    assert "-> modelpack.Tensor['int64', 'batch', 3]" in (
        (tmp_path / "my_model_v2_service.py").read_text()
    )
