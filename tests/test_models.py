"""What a training script saves comes back as it was, under a tag made of its content."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

import modelpack
from modelpack import models
from modelpack.errors import (
    ConflictError,
    ModelNotFoundError,
    NotFoundError,
    RefusedError,
    TagError,
    ToolMissingError,
    UsageError,
)
from modelpack.provenance import read_provenance
from modelpack.store import Kind, Store


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODELPACK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MODELPACK_CACHE", str(tmp_path / "cache"))


def test_a_model_predicts_the_same_after_the_store() -> None:
    x, y = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=1000).fit(x, y)
    tag = models.save("iris-clf", model, labels={"accuracy": "0.97"})
    loaded = models.load(str(tag))
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    assert tag.name == "iris-clf"
    assert tag.version is not None
    assert len(tag.version) == 12


def test_the_same_model_twice_is_one_entry() -> None:
    assert models.save("a", {"x": 1}) == models.save("a", {"x": 1})
    assert len(models.list("a")) == 1


def test_latest_is_what_was_saved_last() -> None:
    first = models.save("a", {"x": 1})
    models.save("a", {"x": 2})
    assert models.load("a") == {"x": 2}
    models.save("a", {"x": 1})
    assert models.load("a:latest") == {"x": 1}
    assert models.load(first) == {"x": 1}


def test_a_version_is_never_written_over() -> None:
    models.save("a", {"x": 1}, version="v1")
    with pytest.raises(ConflictError):
        models.save("a", {"x": 2}, version="v1")
    assert models.load("a:v1") == {"x": 1}


def test_a_deleted_model_is_gone() -> None:
    models.save("a", {"x": 1})
    assert models.delete("a") > 0
    with pytest.raises(ModelNotFoundError):
        models.load("a")


def test_wrong_words_are_said() -> None:
    with pytest.raises(TagError):
        models.save("Not a name", {})
    with pytest.raises(TagError):
        models.save("a", {}, version="latest")
    with pytest.raises(NotFoundError):
        models.save("a", {}, framework="tensorflw")
    with pytest.raises(UsageError):
        models.save("a", "missing.onnx")
    models.save("digits", {})
    with pytest.raises(ModelNotFoundError) as caught:
        models.load("digit")
    assert "digits" in str(caught.value.hint)


def test_a_service_finds_its_model_in_the_store() -> None:
    models.save("words", ["a", "b"])

    @modelpack.service
    class Words:
        words = modelpack.Model("words:latest")

        @modelpack.api
        def get(self, i: int) -> str:
            return str(self.words[i])

    assert Words().get(1) == "b"
    assert (Words.words.path / "model.pkl").is_file()


def test_a_sample_becomes_the_signature() -> None:
    x, y = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=1000).fit(x, y)
    tag = models.save("iris-clf", model, sample={"flowers": x[:7].astype("float32")})
    record = Store().model_record(Store().find(tag, Kind.MODEL))
    assert record.inputs == ({"name": "flowers", "dtype": "float32", "shape": [None, 4]},)
    assert [one["name"] for one in record.outputs] == ["label", "probabilities"]


class Forgetful(LogisticRegression):
    """Loses what it learned when it is saved."""

    def __getstate__(self) -> dict[str, object]:
        return {**super().__getstate__(), "coef_": self.coef_ * 0}


def test_a_copy_that_answers_otherwise_is_refused() -> None:
    x, y = load_iris(return_X_y=True)
    with pytest.raises(RefusedError) as caught:
        models.save("iris-clf", Forgetful(max_iter=1000).fit(x, y), sample=x)
    assert "answers the sample otherwise" in str(caught.value)
    assert models.list() == []


def test_metrics_and_data_stand_beside_a_model_and_do_not_change_it(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("1,2\n")
    bare = models.save("a", {"x": 1})
    tag = models.save("a", {"x": 1}, metrics={"accuracy": 0.97}, data=tmp_path / "train.csv")
    assert tag == bare
    found = read_provenance(Store(), Store().find(tag, Kind.MODEL))
    assert found is not None
    assert found.training.metrics == {"accuracy": 0.97}
    assert [one.name for one in found.training.data] == ["train.csv"]


def test_an_option_that_there_is_not_is_said() -> None:
    with pytest.raises(UsageError) as caught:
        models.save("a", {"x": 1}, options={"factory": "nets:make"})
    assert "'pickled'" in str(caught.value)


def test_a_library_that_is_not_installed_is_named(tmp_path: Path) -> None:
    if find_spec("catboost") is not None:
        pytest.skip("catboost is installed")
    (tmp_path / "model.cbm").write_bytes(b"CBM1")
    with pytest.raises(ToolMissingError) as caught:
        models.save("a", tmp_path / "model.cbm")
    assert caught.value.hint == "pip install catboost"


def test_a_path_that_no_framework_knows_is_not_saved_as_a_word(tmp_path: Path) -> None:
    for wrong in (tmp_path, str(tmp_path), tmp_path / "gone"):
        with pytest.raises(UsageError) as caught:
            models.save("a", wrong)
        assert str(tmp_path) in caught.value.message
    assert models.load(models.save("a", "a word " * 1000)) == "a word " * 1000


def test_a_sample_describes_any_function() -> None:
    tag = models.save("double", lambda x: x * 2, sample=[[1.0, 2.0]])
    record = Store().model_record(Store().find(tag, Kind.MODEL))
    assert record.inputs == ({"name": "x", "dtype": "float64", "shape": [None, 2]},)
    assert record.outputs == ({"name": "output", "dtype": "float64", "shape": [None, 2]},)
