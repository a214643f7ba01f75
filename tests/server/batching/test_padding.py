"""Requests of different length in one batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import modelpack
from modelpack.errors import SignatureError
from modelpack.sdk.service import spec_of
from modelpack.server.batching.call import Batch, Call
from modelpack.server.batching.padding import Padding
from modelpack.server.batching.rows import group_key, row_size, values_of
from modelpack.server.observe.stats import BatchStats

T = modelpack.Tensor
BUCKETS = (4, 8, 16)


@modelpack.service
class Padded:
    @modelpack.api(batch=True, buckets=BUCKETS, pad_value=-1)
    def tokens(self, ids: T["int64", "batch", "length"]) -> T["int64", "batch", "length"]: ...

    @modelpack.api(batch=True, buckets=BUCKETS)
    def masked(
        self,
        ids: T["int64", "batch", "length"],
        mask: T["int64", "batch", "length"],
        text: list[str],
    ) -> dict[str, T["float32", "batch", "length", 2]]: ...

    @modelpack.api(batch=True, buckets=BUCKETS)
    def images(
        self, pixels: T["float32", "batch", 3, "height", "width"]
    ) -> tuple[T["float32", "batch", "width"], T["float32", "batch", 10]]: ...

    @modelpack.api(batch=True)
    def exact(self, ids: T["int64", "batch", "length"]) -> T["int64", "batch", "length"]: ...


APIS = {api.name: api for api in spec_of(Padded).apis}


def batch_of(*values: dict[str, Any]) -> Batch:
    slices = []
    for one in values:
        call = Call()
        call.values, call.rows = one, len(next(iter(one.values())))
        slices.append((call, 0, call.rows))
    return Batch(slices, sum(stop for _, _, stop in slices), "")


def joined(name: str, *values: dict[str, Any]) -> tuple[dict[str, Any], BatchStats]:
    stats, api = BatchStats(), APIS[name]
    return values_of(batch_of(*values), api.batched, Padding.of(api), stats), stats


def key(name: str, **values: Any) -> Any:
    make = group_key(APIS[name])
    assert make is not None
    return make(values)


def ids(*shape: int) -> Any:
    return np.ones(shape, np.int64)


def test_requests_of_one_bucket_share_batches() -> None:
    keys = [key("tokens", ids=ids(1, length)) for length in (5, 7, 8, 9, 16, 17, 18)]

    assert keys[0] == keys[1] == keys[2] != keys[3] == keys[4]
    assert len({keys[4], keys[5], keys[6]}) == 3  # longer than any bucket: only equal ones do


def test_without_buckets_only_equal_shapes_share_batches() -> None:
    assert key("exact", ids=ids(1, 5)) != key("exact", ids=ids(1, 7))


def test_rows_are_padded_at_their_ends() -> None:
    values, _ = joined("tokens", {"ids": ids(1, 5)}, {"ids": 2 * ids(2, 7)})

    assert values["ids"].tolist() == [[1] * 5 + [-1] * 3, [2] * 7 + [-1], [2] * 7 + [-1]]
    assert values["ids"].dtype == np.int64


def test_a_lone_request_is_padded_too_so_that_company_changes_no_answer() -> None:
    values, _ = joined("tokens", {"ids": ids(1, 5)})

    assert values["ids"].shape == (1, 8)


def test_one_that_is_longer_than_all_buckets_stays_as_it_is() -> None:
    values, stats = joined("tokens", {"ids": ids(1, 40)}, {"ids": ids(1, 40)})

    assert values["ids"].shape == (2, 40)
    assert (stats.real_elements, stats.padded_elements) == (80, 0)


def test_what_padding_takes_is_counted() -> None:
    _, stats = joined("tokens", {"ids": ids(1, 5)}, {"ids": ids(2, 7)})

    assert (stats.real_elements, stats.padded_elements) == (19, 5)


def test_a_mask_is_a_parameter_like_another_and_lists_are_left_alone() -> None:
    one = {"ids": ids(1, 3), "mask": ids(1, 3), "text": ["a"]}
    other = {"ids": ids(1, 2), "mask": ids(1, 2), "text": ["b"]}
    values, _ = joined("masked", one, other)

    assert values["mask"].tolist() == [[1, 1, 1, 0], [1, 1, 0, 0]]
    assert values["text"] == ["a", "b"]


def test_all_variable_axes_are_padded_and_the_others_are_not() -> None:
    values, _ = joined("images", {"pixels": np.ones((1, 3, 5, 9), np.float32)})

    assert values["pixels"].shape == (1, 3, 8, 16)
    assert values["pixels"].sum() == 3 * 5 * 9


def cut(name: str, answer: Any, **values: Any) -> Any:
    padding = Padding.of(APIS[name])
    assert padding is not None
    return padding.cut(answer, values)


def test_axes_of_the_same_name_are_cut_back() -> None:
    assert cut("tokens", ids(1, 8), ids=ids(1, 5)).shape == (1, 5)
    answer = cut("masked", {"any": np.ones((2, 4, 2), np.float32)}, ids=ids(2, 3), mask=ids(2, 3))
    assert answer["any"].shape == (2, 3, 2)
    assert answer["any"].flags.c_contiguous
    wide, classes = cut("images", (ids(1, 16), ids(1, 10)), pixels=np.ones((1, 3, 5, 9)))
    assert (wide.shape, classes.shape) == ((1, 9), (1, 10))


def test_an_axis_of_another_length_than_the_padding_stays_as_the_method_gave_it() -> None:
    assert cut("tokens", ids(1, 6), ids=ids(1, 5)).shape == (1, 6)
    assert cut("tokens", ids(1, 5), ids=ids(1, 5)).shape == (1, 5)


def test_what_needs_no_padding_is_not_touched() -> None:
    answer = ids(1, 8)

    assert cut("tokens", answer, ids=ids(1, 8)) is answer
    assert cut("tokens", answer, ids=ids(1, 40)) is answer


def test_each_bucket_has_costs_of_its_own() -> None:
    size = row_size(APIS["tokens"])
    assert size is not None

    assert [size({"ids": ids(3, length)}) for length in (1, 5, 8, 9, 40)] == [4, 8, 8, 16, 40]


def test_buckets_need_something_to_pad() -> None:
    with pytest.raises(SignatureError, match="buckets need an axis of variable length"):

        @modelpack.service
        class Fixed:
            @modelpack.api(batch=True, buckets=(4,))
            def fixed(self, x: T["float32", "batch", 3]) -> list[int]: ...


@pytest.mark.parametrize(("dtype", "value"), [("uint8", -1), ("int32", 0.5), ("float16", 1e9), ("bool", 2), ("int64", float("nan"))])  # fmt: skip
def test_padding_has_to_be_a_number_of_the_dtype(dtype: str, value: float) -> None:
    def wrong(self: Any, x: Any) -> Any: ...

    wrong.__annotations__ = {"x": T[dtype, "batch", "n"], "return": list[int]}
    marked = modelpack.api(batch=True, buckets=(4,), pad_value=value)(wrong)
    with pytest.raises(SignatureError, match="pad_value"):
        modelpack.service(type("Wrong", (), {"wrong": marked}))


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 20)), min_size=1, max_size=6))
def test_each_request_gets_back_what_it_sent(shapes: list[tuple[int, int]]) -> None:
    """Through a method that gives what it gets, whatever the company."""
    padding = Padding.of(APIS["tokens"])
    assert padding is not None
    rows = [np.arange(count * length).reshape(count, length) for count, length in shapes]
    groups: dict[Any, list[Any]] = {}
    for one in rows:
        groups.setdefault(key("tokens", ids=one), []).append(one)

    for mates in groups.values():
        values, stats = joined("tokens", *({"ids": one} for one in mates))
        at = 0
        for one in mates:
            answer = padding.cut(values["ids"][at : at + len(one)], {"ids": one})
            at += len(one)
            assert answer.tolist() == one.tolist()
        assert stats.real_elements + stats.padded_elements == values["ids"].size
