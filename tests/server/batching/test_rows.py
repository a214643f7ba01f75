"""Joining rows, taking answers apart, and telling apart what must not be joined."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import modelpack
from modelpack.sdk.service import spec_of
from modelpack.server.batching.call import Batch, Call
from modelpack.server.batching.rows import (
    Split,
    WrongRows,
    column_marker,
    group_key,
    merge,
    row_size,
    splitter,
    values_of,
)
from modelpack.server.observe.stats import BatchStats


@dataclasses.dataclass
class Columns:
    label: list[str]
    score: np.ndarray


@dataclasses.dataclass(frozen=True)
class Options:
    top: int


@modelpack.service
class Apis:
    @modelpack.api(batch=True)
    def fixed(self, x: modelpack.Tensor["float32", "batch", 3], y: list[str]) -> list[str]: ...

    @modelpack.api(batch=True)
    def open_shape(self, x: modelpack.Tensor["float32", "batch", "n"]) -> list[float]: ...

    @modelpack.api(batch=True)
    def with_options(  # noqa: PLR0917 (one of each kind)
        self,
        x: list[float],
        scale: float = 1.0,
        flag: bool = False,
        mode: Literal["a", "b"] = "a",
        options: Options | None = None,
        extra: dict[str, int] | None = None,
    ) -> list[float]: ...

    @modelpack.api(batch=True)
    def pairs(self, x: list[int]) -> tuple[list[int], list[str]]: ...

    @modelpack.api(batch=True)
    def table(self, x: list[int]) -> Annotated[Columns, "columns"]: ...

    @modelpack.api(batch=True)
    def map_of_pairs(self, x: list[int]) -> dict[str, tuple[list[int], list[int]]]: ...


APIS = {api.name: api for api in spec_of(Apis).apis}


def join(names: tuple[str, ...], values: list[Any], spans: list[tuple[int, int]]) -> Any:
    """The values of a batch of these rows."""
    slices = []
    for one, (start, stop) in zip(values, spans, strict=True):
        call = Call()
        call.values, call.rows = one, len(one[names[0]])
        slices.append((call, start, stop))
    batch = Batch(slices, 0, "")
    assert batch.keep_wanted()
    return values_of(batch, names, None, BatchStats())


def test_rows_are_joined_and_the_rest_is_taken_from_the_first() -> None:
    values = [{"x": np.array([[1, 2]]), "y": ["a"], "z": 5}, {"x": np.array([[3, 4], [5, 6]]), "y": ["b", "c"], "z": 5}]  # fmt: skip

    joined = join(("x", "y"), values, [(0, 1), (0, 2)])

    assert joined["x"].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert joined["y"] == ["a", "b", "c"]
    assert joined["z"] == 5


def test_only_the_asked_rows_are_joined() -> None:
    values = [{"x": [1, 2, 3]}, {"x": [4, 5, 6]}]

    assert join(("x",), values, [(2, 3), (0, 2)])["x"] == [3, 4, 5]


def test_the_rows_of_a_lone_request_are_not_copied() -> None:
    values = {"x": np.zeros((2, 2))}

    assert join(("x",), [values], [(0, 2)]) is values


def test_requests_that_can_always_be_joined_have_no_key() -> None:
    assert group_key(APIS["fixed"]) is None


def key_of(name: str, **body: Any) -> Any:
    api = APIS[name]
    make = group_key(api)
    assert make is not None
    return make(api.decode(body).values)


def test_different_shapes_have_different_keys() -> None:
    assert key_of("open_shape", x=[[1, 2]]) == key_of("open_shape", x=[[3, 4], [5, 6]])
    assert key_of("open_shape", x=[[1, 2]]) != key_of("open_shape", x=[[1, 2, 3]])


def test_rows_of_different_length_are_of_different_size() -> None:
    size = row_size(APIS["open_shape"])
    assert size is not None

    sizes = [size({"x": np.zeros((3, length))}) for length in (100, 120, 1000)]

    assert sizes[0] == sizes[1] < sizes[2]
    assert row_size(APIS["fixed"]) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"scale": 1}, {"scale": 2}),
        ({"scale": 0.0}, {"scale": -0.0}),
        ({"flag": True}, {"flag": False}),
        ({"mode": "a"}, {"mode": "b"}),
        ({"options": {"top": 1}}, {"options": {"top": 2}}),
        ({"extra": {"a": 1}}, {"extra": {"a": 1}}),  # nothing says that a dict stays equal
    ],
)
def test_different_scalars_have_different_keys(one: Any, other: Any) -> None:
    assert key_of("with_options", x=[1], **one) != key_of("with_options", x=[1], **other)


@pytest.mark.parametrize(
    "same", [{}, {"scale": 2.5}, {"flag": True}, {"mode": "b"}, {"options": {"top": 3}}]
)
def test_equal_scalars_have_equal_keys(same: Any) -> None:
    assert key_of("with_options", x=[1], **same) == key_of("with_options", x=[1.0, 2], **same)


@pytest.mark.parametrize(
    "answer",
    [
        np.arange(6).reshape(3, 2),
        [1, 2, 3],
        {"a": np.arange(3), "b": [1, 2, 3]},
        (np.arange(3), [1, 2, 3]),
        Columns(["a", "b", "c"], np.arange(3)),
        {"deep": {"a": (np.arange(3), {"b": [1, 2, 3]})}},
    ],
)
def test_slices_of_an_answer_merge_to_the_answer(answer: Any) -> None:
    split = splitter(answer, 3)

    whole, parts = split(0, 3), [split(0, 1), split(1, 3)]

    np.testing.assert_equal(merge(parts), whole)


def test_a_row_has_the_form_of_the_whole() -> None:
    split = splitter({"a": np.array([[1, 2], [3, 4]]), "b": ["x", "y"]}, 2)

    row = split(1, 2)

    assert row["a"].tolist() == [[3, 4]]
    assert row["b"] == ["y"]


@pytest.mark.parametrize(
    "answer",
    [[1, 2], np.arange(4), np.array(3), 3, "abc", None, {"a": [1, 2, 3], "b": [1, 2]}, ([1], [1, 2, 3])],
)  # fmt: skip
def test_another_number_of_rows_is_refused(answer: Any) -> None:
    with pytest.raises(WrongRows):
        splitter(answer, 3)


def test_tuples_are_columns_although_they_are_written_as_lists() -> None:
    """Two columns of two rows look like two rows of two, once they are lists."""
    returns = APIS["pairs"].returns
    marker = column_marker(returns)
    assert marker is not None

    plain = marker(returns.encode(([1, 2], ["a", "b"])))

    assert splitter(plain, 2)(0, 1) == ([1], ["a"])


def test_tuples_inside_of_objects_are_columns_too() -> None:
    returns = APIS["map_of_pairs"].returns
    marker = column_marker(returns)
    assert marker is not None

    plain = marker(returns.encode({"k": ([1, 2], [3, 4])}))

    assert splitter(plain, 2)(1, 2) == {"k": ([2], [4])}


def test_answers_without_tuples_need_no_marks() -> None:
    assert column_marker(APIS["fixed"].returns) is None
    assert column_marker(APIS["table"].returns) is None


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8))
def test_joined_and_split_again_each_has_its_own(sizes: list[int]) -> None:
    total = sum(sizes)
    starts = np.cumsum([0, *sizes])
    values = [{"x": np.arange(starts[i], starts[i + 1])} for i in range(len(sizes))]

    joined = join(("x",), values, [(0, size) for size in sizes])
    split: Split = splitter({"y": joined["x"] * 3}, total)

    for i, one in enumerate(values):
        got = split(int(starts[i]), int(starts[i + 1]))["y"]
        assert got.tolist() == (one["x"] * 3).tolist()
