"""ONNX models are saved with their signature, run by name, and never read files elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from modelpack.errors import DeviceMissingError, RefusedError, UsageError
from modelpack.frameworks.onnx import OnnxFramework, OnnxModel, open_onnx
from modelpack.frameworks.onnxfile import external_files
from modelpack.sdk.placement import Placement, placed


def doubler(*, axis: str | int = "batch") -> Any:
    """Make a model that doubles rows of three."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "doubler",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [axis, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [axis, 3])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def with_weights(folder: Path, location: str) -> Path:
    """Write a model that adds a weight kept in another file."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [3], np.ones(3, "f4").tobytes(), raw=True)
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "12")):
        entry = weight.external_data.add()
        entry.key, entry.value = key, value
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "adder",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    file = folder / "adder.onnx"
    file.write_bytes(model.SerializeToString())
    return file


def test_a_model_runs_by_position_and_by_name(tmp_path: Path) -> None:
    saved = OnnxFramework().save(doubler(), tmp_path)
    model = OnnxFramework().load(tmp_path)
    x = np.arange(6, dtype="float32").reshape(2, 3)
    for answer in (model(x), model(x=x), model.run({"x": x})):
        np.testing.assert_array_equal(answer["y"], 2 * x)
    assert saved.inputs == ({"name": "x", "dtype": "float32", "shape": ["batch", 3]},)
    assert saved.outputs[0]["name"] == "y"
    assert saved.requirements[0].startswith("onnxruntime==")
    with pytest.raises(TypeError):
        model(x, x)


def test_bytes_and_paths_are_taken_too(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes(doubler().SerializeToString())
    for number, source in enumerate((file, str(file), file.read_bytes())):
        folder = tmp_path / str(number)
        folder.mkdir()
        OnnxFramework().save(source, folder)
        assert (folder / "model.onnx").read_bytes() == file.read_bytes()


def test_external_weights_come_along(tmp_path: Path) -> None:
    file = with_weights(tmp_path, "weights.bin")
    (tmp_path / "weights.bin").write_bytes(np.ones(3, "f4").tobytes())
    assert external_files(file) == ("weights.bin",)
    folder = tmp_path / "saved"
    folder.mkdir()
    OnnxFramework().save(file, folder)
    x = np.zeros((1, 3), dtype="float32")
    assert OnnxFramework().load(folder)(x)["y"].tolist() == [[1, 1, 1]]


@pytest.mark.parametrize(
    "location", ["../secret.bin", "/etc/passwd", "a/b.bin", "..", "a\\b", "w\0.bin"]
)
def test_weights_outside_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    (tmp_path.parent / "secret.bin").write_bytes(b"\0" * 12)
    file = with_weights(tmp_path, location)
    with pytest.raises(RefusedError):
        open_onnx(file)
    with pytest.raises(RefusedError):
        OnnxFramework().save(file, tmp_path)


def test_linked_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\0" * 12)
    (tmp_path / "weights.bin").symlink_to(tmp_path / "secret")
    with pytest.raises(RefusedError):
        OnnxModel(with_weights(tmp_path, "weights.bin"))


@pytest.mark.parametrize(
    "data", [b"", b"not onnx at all", b"\x3a\xff\xff\xff\xff\x0f", b"\x08" * 99]
)
def test_what_is_no_model_says_so(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes(data)
    with pytest.raises(UsageError, match="ONNX"):
        open_onnx(file)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file"):
        OnnxFramework().save(tmp_path / "missing.onnx", tmp_path)


def test_the_skimmer_agrees_with_the_library(tmp_path: Path) -> None:
    file = with_weights(tmp_path, "weights.bin")
    model = onnx.load(str(file), load_external_data=False)
    wanted = {e.value for e in model.graph.initializer[0].external_data if e.key == "location"}
    assert set(external_files(file)) == wanted


def test_a_model_is_loaded_with_the_threads_and_on_the_device_of_its_replica(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes(doubler().SerializeToString())
    here = Placement(device="cpu", threads=3)
    with placed(here):
        model = OnnxModel(file)

    assert model.session.get_session_options().intra_op_num_threads == 3
    assert model.session.get_providers() == ["CPUExecutionProvider"]
    assert model.is_at(here)
    assert not model.is_at(Placement(device="cpu", threads=2))
    assert not model.is_at(Placement(device="cuda:0", threads=3))

    monkeypatch.setenv("MODELPACK_ORT_THREADS", "1")
    with placed(here):
        assert OnnxModel(file).session.get_session_options().intra_op_num_threads == 1


def test_a_gpu_that_was_asked_for_and_is_not_there_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes(doubler().SerializeToString())

    with placed(Placement(device="cuda:0")), pytest.raises(DeviceMissingError, match="'cuda:0'"):
        open_onnx(file)
