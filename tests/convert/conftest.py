"""Data that the models are fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from sklearn.datasets import load_iris


@dataclass(frozen=True)
class Iris:
    """150 rows of 4 numbers; what each of them is, as a number and as a word."""

    x: Any
    y: Any
    words: Any


@pytest.fixture(scope="session")
def iris() -> Iris:
    data = load_iris()
    return Iris(data.data, data.target, data.target_names[data.target])
