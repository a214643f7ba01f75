from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelpack.errors import NotFoundError, UsageError
from modelpack.provenance import training_facts


def test_metrics_are_plain_values_also_those_of_numpy() -> None:
    given = {"accuracy": np.float32(0.5), "rows": np.int64(3), "split": "test", "is_final": True}
    metrics = training_facts(given).metrics
    assert metrics == {"accuracy": 0.5, "rows": 3, "split": "test", "is_final": True}
    assert {type(value) for value in metrics.values()} == {float, int, str, bool}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [0.5], None, {}, np.zeros(2)])
def test_a_metric_that_json_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match="the metric 'loss' is"):
        training_facts({"loss": value})


def test_data_are_named_by_their_digest(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("1,2\n")
    (resource,) = training_facts(data=tmp_path / "train.csv").data
    said = subprocess.run(["sha256sum", tmp_path / "train.csv"], capture_output=True, text=True)
    assert (resource.name, resource.size) == ("train.csv", 4)
    assert said.stdout.startswith(resource.sha256)
    (given,) = training_facts(data="sha256:" + "a" * 64).data
    assert (given.sha256, given.size) == ("a" * 64, None)


def test_a_folder_has_the_digest_that_sha256sum_gives(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for path in ("b/two", "a", "b/one", "ü"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)
    (resource,) = training_facts(data=folder).data
    command = "find . -type f -printf '%P\\n' | LC_ALL=C sort | xargs sha256sum | sha256sum"
    said = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True)
    assert said.stdout.split()[0] == resource.sha256
    assert resource.name == "data"


def test_data_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no training data"):
        training_facts(data=tmp_path / "gone.csv")
    with pytest.raises(NotFoundError):
        training_facts(data="sha256:abc")


def test_nothing_said_is_nothing_known() -> None:
    assert not training_facts()
