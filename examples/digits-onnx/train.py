"""Trains on scikit-learn's handwritten digits and saves the model as 'digits-clf'.

    python train.py

Also writes example.json: a request with an image that the model has not seen.
"""

import json
from pathlib import Path

try:
    import modelpack
    from skl2onnx import to_onnx
    from sklearn.datasets import load_digits
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.model_selection import train_test_split
except ModuleNotFoundError as missing:
    raise SystemExit(
        f"no module '{missing.name}': run 'pip install -r requirements-train.txt'"
    ) from None


def split():
    """Return x_train, x_test, y_train, y_test; 450 of the 1797 images are held out."""
    x, y = load_digits(return_X_y=True)
    return train_test_split(x.astype("float32"), y, test_size=450, stratify=y, random_state=0)


def main():
    x_train, x_test, y_train, y_test = split()
    # Trees come out the same on every machine; a network differs in its last bits.
    forest = ExtraTreesClassifier(50, random_state=0).fit(x_train, y_train)
    accuracy = forest.score(x_test, y_test)

    # Without ZipMap the probabilities are an array and not a list of dictionaries; with a name the
    # same model is the same file, and so the same version in the store.
    model = to_onnx(forest, x_train[:1], options={"zipmap": False}, name="digits")
    tag = modelpack.models.save("digits-clf", model, labels={"accuracy": f"{accuracy:.4f}"})
    print(f"{tag} reads {accuracy:.1%} of {len(x_test)} held-out images")

    Path("example.json").write_text(json.dumps({"x": x_test[:1].astype(int).tolist()}) + "\n")


if __name__ == "__main__":
    main()
