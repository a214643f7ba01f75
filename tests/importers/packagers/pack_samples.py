"""Packs the same model with the packagers of other systems, in an environment that has them.

python pack_samples.py FOLDER      needs bentoml mlflow-skinny onnx onnxruntime pandas scikit-learn skl2onnx skops
                                   torch-model-archiver
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["BENTOML_DO_NOT_TRACK"] = "True"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

SERVICE = """\
import bentoml

@bentoml.service
class Digits:
    model = bentoml.models.BentoModel("digits-clf:latest")

    @bentoml.api
    def predict(self, x: list[list[float]]) -> list[int]:
        return bentoml.sklearn.load_model(self.model).predict(x).tolist()
"""


def train() -> tuple[Any, Any, Any]:
    """Return a classifier of digits, its data, and the same as ONNX."""
    from skl2onnx import to_onnx
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    x, y = load_digits(return_X_y=True)
    model = LogisticRegression(max_iter=200).fit(x / 16, y)
    data = (x[:16] / 16).astype("float32")
    return model, data, to_onnx(model, data[:1], options={"zipmap": False})


def mar(folder: Path, onnx: Any) -> None:
    """Write ``digits.mar`` with an ONNX model, a handler and requirements."""
    (folder / "model.onnx").write_bytes(onnx.SerializeToString())
    (folder / "handler.py").write_text("raise SystemExit('a handler was run')\n")
    (folder / "requirements.txt").write_text("numpy>=1.26\n")
    archiver = Path(sys.executable).with_name("torch-model-archiver")
    subprocess.run(
        [archiver, "--model-name", "digits", "--version", "1.0", "--serialized-file", "model.onnx",
         "--handler", "handler.py", "-r", "requirements.txt", "--export-path", "."],
        cwd=folder, check=True,
    )  # fmt: skip


def mlflow(folder: Path, model: Any, data: Any, onnx: Any) -> None:
    """Write a model with the sklearn flavor, with a tensor and with a column signature, and ONNX."""
    import mlflow.sklearn
    import pandas
    from mlflow.models import infer_signature
    from sklearn.datasets import load_iris
    from sklearn.tree import DecisionTreeClassifier

    signature = infer_signature(data, model.predict(data))
    mlflow.sklearn.save_model(
        model, folder / "mlflow-digits", signature=signature, serialization_format="cloudpickle"
    )
    mlflow.sklearn.save_model(model, folder / "mlflow-skops", signature=signature)
    iris = load_iris(as_frame=True)
    table: pandas.DataFrame = iris.data
    tree = DecisionTreeClassifier(max_depth=3, random_state=1).fit(table, iris.target)
    mlflow.sklearn.save_model(
        tree, folder / "mlflow-iris", signature=infer_signature(table, tree.predict(table)),
        serialization_format="cloudpickle",
    )  # fmt: skip
    import mlflow.onnx

    mlflow.onnx.save_model(
        onnx, folder / "mlflow-onnx", signature=infer_signature(data, model.predict(data))
    )


def bento(folder: Path, model: Any, onnx: Any) -> None:
    """Write ``digits.bento`` with a scikit-learn and an ONNX model."""
    os.environ["BENTOML_HOME"] = str(folder / "bentoml")
    import bentoml

    bentoml.sklearn.save_model("digits-clf", model)
    bentoml.onnx.save_model("digits-onnx", onnx)
    project = folder / "bento-project"
    project.mkdir()
    (project / "service.py").write_text(SERVICE)
    built = bentoml.build(
        "service:Digits", name="digits", version="3", build_ctx=str(project), include=["*.py"],
        models=["digits-clf:latest", "digits-onnx:latest"],
        python={"packages": ["scikit-learn"], "lock_packages": False},
    )  # fmt: skip
    bentoml.export_bento(built.tag, str(folder / "digits.bento"))


def triton(folder: Path, onnx: Any) -> None:
    """Write a model repository with two versions."""
    model = folder / "triton" / "digits"
    for version in ("1", "2"):
        (model / version).mkdir(parents=True)
        (model / version / "model.onnx").write_bytes(onnx.SerializeToString())
    (model / "config.pbtxt").write_text(
        'name: "digits"\nplatform: "onnxruntime_onnx"\nmax_batch_size: 16\n'
        'input [ { name: "X" data_type: TYPE_FP32 dims: [ 64 ] } ]\n'
        'output [ { name: "label" data_type: TYPE_INT64 dims: [ 1 ] } ]\n'
        "dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 }\n"
    )


def main(folder: Path) -> None:
    """Write all samples and what the model answers."""
    model, data, onnx = train()
    mar(folder, onnx)
    triton(folder, onnx)
    mlflow(folder, model, data, onnx)
    bento(folder, model, onnx)
    answers = {"x": data.tolist(), "labels": model.predict(data).tolist()}
    (folder / "answers.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
