"""A decorated class stays a plain class and is described completely."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest

import modelpack
from modelpack.errors import InputError, SignatureError, UsageError, UserCodeError
from modelpack.sdk.service import spec_of


@modelpack.service
class Adder:
    """Adds."""

    @modelpack.api(batch=True, max_batch_size=8, latency_ms=5)
    def add(
        self, x: modelpack.Tensor["float32", "batch", 2], scale: float = 1.0
    ) -> modelpack.Tensor["float32", "batch"]:
        """Add each row."""
        return x.sum(axis=1) * np.float32(scale)

    @modelpack.api
    async def shout(self, text: str) -> str:
        return text.upper()

    @modelpack.api(route="/v1/words")
    async def words(self, text: str) -> AsyncIterator[str]:
        for word in text.split():
            yield word

    @modelpack.api
    def count(self, n: int) -> Iterator[int]:
        yield from range(n)

    @modelpack.on_startup
    def begin(self) -> None: ...

    @modelpack.on_shutdown
    async def end(self) -> None: ...


ADD = next(api for api in spec_of(Adder).apis if api.name == "add")


def test_a_service_is_called_as_a_plain_object() -> None:
    assert Adder().add(np.ones((3, 2), dtype="float32"), scale=2.0).tolist() == [4, 4, 4]


def test_the_spec_tells_everything() -> None:
    spec = spec_of(Adder)
    assert spec.name == "adder"
    assert spec.doc == "Adds."
    assert [(a.name, a.route, a.is_async, a.is_stream) for a in spec.apis] == [
        ("add", "/add", False, False),
        ("shout", "/shout", True, False),
        ("words", "/v1/words", True, True),
        ("count", "/count", False, True),
    ]
    assert spec.startup_hooks == ("begin",)
    assert spec.shutdown_hooks == ("end",)
    assert ADD.batch is not None
    assert (ADD.batch.max_batch_size, ADD.batch.latency_ms) == (8, 5)
    assert ADD.batched == ("x",)


def test_a_subclass_inherits_apis_and_is_a_service_only_when_marked() -> None:
    class Plain(Adder): ...

    with pytest.raises(UsageError):
        spec_of(Plain)

    marked = modelpack.service(name="more")(type("Marked", (Adder,), {}))
    assert spec_of(marked).name == "more"
    assert len(spec_of(marked).apis) == 4


def test_a_body_is_decoded_with_defaults() -> None:
    arguments = ADD.decode({"x": [[1, 2], [3, 4]]})
    assert arguments.rows == 2
    assert arguments.values["scale"] == 1.0
    assert arguments.values["x"].dtype == "float32"


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ([], [""]),
        (None, [""]),
        ({}, ["/x"]),
        ({"y": 1}, ["/x", "/y"]),
        ({"x": [[1, 2]], "sclae": 2}, ["/sclae"]),
        ({"x": [[1, 2, 3]], "scale": "a"}, ["/x", "/scale"]),
        ({"x": np.empty((0, 2)).tolist()}, ["/x"]),
    ],
)
def test_a_wrong_body_names_every_place(body: Any, pointers: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        ADD.decode(body)
    assert [issue.pointer for issue in caught.value.issues] == pointers


def test_a_near_miss_is_suggested() -> None:
    with pytest.raises(InputError) as caught:
        ADD.decode({"x": [[1, 2]], "sclae": 2})
    assert caught.value.issues[0].expected == "'scale'"


def test_rows_of_all_parameters_are_equal() -> None:
    @modelpack.service
    class Pair:
        @modelpack.api(batch=True)
        def f(self, a: list[str], b: modelpack.Tensor["int64", "batch"]) -> list[str]:
            return a

    api = spec_of(Pair).apis[0]
    assert api.decode({"a": ["x", "y"], "b": [1, 2]}).rows == 2
    with pytest.raises(InputError) as caught:
        api.decode({"a": ["x"], "b": [1, 2]})
    assert caught.value.issues[0].pointer == "/b"
    with pytest.raises(InputError):
        api.decode({"a": [], "b": [1]})


def test_the_sample_is_valid_or_the_users_own() -> None:
    assert ADD.decode(ADD.sample()).rows == 1

    @modelpack.service
    class Own:
        @modelpack.api(example={"n": 7})
        def f(self, n: int) -> int:
            return n

    assert spec_of(Own).apis[0].sample() == {"n": 7}


def test_mistakes_in_a_signature_are_said_at_once() -> None:
    def service(**members: Any) -> None:
        modelpack.service(type("Wrong", (), members))

    def no_rows(self: Any, n: int) -> list[int]: ...
    def one_answer(self: Any, x: list[int]) -> int: ...
    def a_stream(self: Any, x: list[int]) -> Iterator[int]: ...
    def star(self: Any, *x: int) -> int: ...
    def plain(self: Any) -> int: ...
    def unknown(self: Any, x: Missing) -> int: ...  # type: ignore[name-defined]

    for members in (
        {},
        {"f": modelpack.api(batch=True)(no_rows)},
        {"f": modelpack.api(batch=True)(one_answer)},
        {"f": modelpack.api(batch=True)(a_stream)},
        {"f": modelpack.api(star)},
        {"f": modelpack.api(unknown)},
        {"f": modelpack.api(route="/docs")(plain)},
        {"f": modelpack.api(route="nope")(plain)},
        {"f": modelpack.api(route="/a/../b\n")(plain)},
    ):
        with pytest.raises(SignatureError) as caught:
            service(**members)
        assert "Wrong" in caught.value.message

    with pytest.raises(SignatureError, match="name"):
        modelpack.service(name="Not a name")(Adder)
    with pytest.raises(UsageError, match="max_batch_size"):
        modelpack.api(batch=True, max_batch_size=0)


def test_two_apis_on_one_route_are_refused() -> None:
    with pytest.raises(SignatureError, match="two apis"):

        @modelpack.service
        class Twice:
            @modelpack.api(route="/f")
            def f(self) -> int:
                return 1

            @modelpack.api(route="/f")
            def g(self) -> int:
                return 2


def test_a_constructor_that_fails_is_the_users_failure() -> None:
    @modelpack.service
    class Breaks:
        def __init__(self) -> None:
            raise RuntimeError("no disk")

        @modelpack.api
        def f(self) -> int:
            return 1

    with pytest.raises(UserCodeError, match="no disk"):
        spec_of(Breaks).create()


def test_a_bundle_records_how_an_api_is_batched() -> None:
    @modelpack.service
    class Batched:
        @modelpack.api(batch=True)
        def plain(self, x: list[float]) -> list[float]: ...

        @modelpack.api(
            batch=True, max_wait_ms=5, preferred_batch_sizes=[4, 8], buckets=[16, 32], pad_value=-1
        )
        def ruled(self, x: modelpack.Tensor["int64", "batch", "n"]) -> list[float]: ...

    plain, ruled = (api.to_json()["batch"] for api in spec_of(Batched).apis)

    assert plain == {"max_batch_size": 32, "latency_ms": None}
    assert ruled == {
        "max_batch_size": 32,
        "latency_ms": None,
        "max_wait_ms": 5,
        "preferred_batch_sizes": [4, 8],
        "buckets": [16, 32],
        "pad_value": -1,
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_wait_ms": -1},
        {"preferred_batch_sizes": [8, 4]},
        {"preferred_batch_sizes": [64]},
        {"buckets": [0]},
    ],
)
def test_rules_of_batching_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        modelpack.api(batch=True, **wrong)
