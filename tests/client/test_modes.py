"""The same answers from a server of several processes, whose service runs in others again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import modelpack
from modelpack.client.errors import CallRefusedError
from tests.client.conftest import SERVICE, serving

ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("garden")
    (folder / "service.py").write_text(SERVICE)
    with serving(folder, "--workers", "2", "--runner", "process") as url:
        yield url


def test_calls_get_the_same_answers(asks: Any, crowded: str) -> None:
    client = asks(crowded)

    for _ in range(10):
        assert client.value("predict", x=ROWS).tolist() == [6.0, 22.0]
    assert client.value("size", file=b"\0" * 4096, unit=1024) == 4
    assert client.value("pair", a=np.array([1]), b=np.array([0.5])).tolist() == [1.5]
    assert client.pieces("count", word="a") == ["a 0", "a 1", "a 2"]
    assert client.pieces("count", word="a", times=1_000_000, most=2) == ["a 0", "a 1"]


def test_errors_are_the_same(asks: Any, crowded: str) -> None:
    client = asks(crowded)

    with pytest.raises(CallRefusedError, match=r"shape \[1, 2\]"):
        client.value("predict", x=[[1, 2]])
    with pytest.raises(modelpack.CallError, match="the model failed"):
        client.pieces("count", word="a", times=1, fails=True)
    assert client.read == ["a 0"]
