"""A pipeline with a step of another library, which has to be locked as well."""

from lightgbm import LGBMClassifier
from rows import words, x
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def make(folder):
    model = make_pipeline(StandardScaler(), LGBMClassifier(n_estimators=10, verbose=-1))
    return {"model": model.fit(x, words), "sample": {"x": x}}
