"""Trains on the iris flowers that come with scikit-learn and saves the model as '@{name}-clf'.

    python train.py

Also writes example.json: a request with a flower that the model has not seen.
"""

import json
from pathlib import Path

try:
    import modelpack
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
except ModuleNotFoundError as missing:
    raise SystemExit(
        f"no module '{missing.name}': run 'pip install -r requirements-train.txt'"
    ) from None


def split():
    """Return x_train, x_test, y_train, y_test; 50 of the 150 flowers are held out."""
    iris = load_iris()
    species = iris.target_names[iris.target]
    return train_test_split(iris.data, species, test_size=50, stratify=species, random_state=0)


def main():
    x_train, x_test, y_train, y_test = split()
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(x_train, y_train)
    accuracy = pipeline.score(x_test, y_test)

    tag = modelpack.models.save("@{name}-clf", pipeline, labels={"accuracy": f"{accuracy:.4f}"})
    print(f"{tag} names {accuracy:.1%} of {len(x_test)} held-out flowers")

    Path("example.json").write_text(json.dumps({"x": x_test[:1].tolist()}) + "\n")


if __name__ == "__main__":
    main()
