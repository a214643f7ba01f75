"""A classifier of LightGBM's whose labels are words.  Its saved form needs no scikit-learn."""

from lightgbm import LGBMClassifier
from rows import words, x


def make(folder):
    model = LGBMClassifier(n_estimators=20, verbose=-1).fit(x, words)
    return {"model": model, "sample": {"x": x}}
