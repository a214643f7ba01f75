"""An estimator that MLflow packed, with its signature."""

import mlflow
import mlflow.sklearn
from mlflow.models import infer_signature
from rows import x, y
from sklearn.linear_model import LogisticRegression


def make(folder):
    model = LogisticRegression().fit(x, y)
    place = folder / "packed"
    mlflow.sklearn.save_model(
        model,
        str(place),
        signature=infer_signature(x, model.predict(x)),
        serialization_format="cloudpickle",
    )
    return {"model": str(place), "sample": {"x": x}, "answers": {"output": model.predict(x)}}
