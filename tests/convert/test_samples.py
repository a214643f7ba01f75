"""Samples fit the model, or it is said how they do not; random ones are the same each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelpack.convert.samples import random_samples, read_samples
from modelpack.errors import NotFoundError, UsageError

FLOATS = {"name": "x", "dtype": "float32", "shape": [None, 4]}
WHOLE = {"name": "ids", "dtype": "int64", "shape": [None, None]}
TEXT = {"name": "text", "dtype": "str", "shape": [None]}


def test_random_rows_keep_to_the_signature() -> None:
    found = random_samples([FLOATS, WHOLE], 16)
    assert {k: (str(v.dtype), v.shape) for k, v in found.arrays.items()} == {
        "x": ("float32", (16, 4)),
        "ids": ("int64", (16, 8)),
    }
    again = random_samples([FLOATS, WHOLE], 16)
    assert all((found.arrays[k] == again.arrays[k]).all() for k in found.arrays)
    assert (found.rows, found.source) == (16, "random")


@pytest.mark.parametrize("inputs", [[], [TEXT]])
def test_what_cannot_be_made_up_has_to_be_given(inputs: list[dict[str, Any]]) -> None:
    with pytest.raises(UsageError) as caught:
        random_samples(inputs, 16)
    assert "--samples" in str(caught.value.hint)


def test_rows_take_the_dtype_of_the_model(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("[1, 2, 3, 4]\n[5, 6, 7, 8]\n")
    found = read_samples(tmp_path / "rows.jsonl", [FLOATS])
    assert found.arrays["x"].dtype == np.float32
    assert found.rows == 2


def test_texts_are_read(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "good"}\n{"text": "bad"}\n')
    assert list(read_samples(tmp_path / "rows.jsonl", [TEXT]).arrays["text"]) == ["good", "bad"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.jsonl", "[1, 2, 3]\n"),
        ("rows.jsonl", "[1, 2, 3, 4]\n[1]\n"),
        ("rows.jsonl", '{"y": [1, 2, 3, 4]}\n'),
        ("rows.jsonl", '["a", "b", "c", "d"]\n'),
        ("rows.jsonl", "{\n"),
        ("rows.jsonl", ""),
        ("rows.jsonl", "7\n"),
        ("rows.npy", "no array"),
        ("rows.npz", "no archive"),
        ("rows.csv", "1,2,3,4\n"),
    ],
)
def test_rows_that_do_not_fit_are_said(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError) as caught:
        read_samples(tmp_path / name, [FLOATS])
    assert name in caught.value.message


def test_arrays_that_would_run_code_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UsageError):
        read_samples(tmp_path / "rows.npy", [FLOATS])


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_samples(tmp_path / "rows.npy", [FLOATS])
