"""Services of every kind of tensor, over both ways that a call can take.

models(...)   what the tests of the protocol ask: ``.infer(tensors, …)``, ``.get(path)``
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

import modelpack


@dataclass
class Person:
    name: str
    age: int


@modelpack.service
class Kinds:
    """One api for each thing that the protocol can carry."""

    @modelpack.api(batch=True)
    def predict(
        self, x: modelpack.Tensor["float32", "batch", 4]
    ) -> modelpack.Tensor["float32", "batch", 3]:
        if (x < 0).any():
            raise modelpack.InputError("negative")
        if (x > 1e6).any():
            raise RuntimeError("too much for this model")
        x -= 1  # a method may write to what it gets
        return x[:, :3] * 2

    @modelpack.api(batch=True)
    def both(
        self,
        a: modelpack.Tensor["int64", "batch"],
        b: modelpack.Tensor["bool", "batch"],
        add: int = 0,
    ) -> dict[str, Any]:
        return {"total": a + b + add, "is_even": a % 2 == 0}

    @modelpack.api
    def echo(self, x: modelpack.Tensor["float32"]) -> modelpack.Tensor["float32"]:
        return x

    @modelpack.api
    def half(self, x: modelpack.Tensor["float16", "n"]) -> modelpack.Tensor["float16", "n"]:
        return x * 2

    @modelpack.api
    def upper(self, words: list[str], who: Person | None = None) -> list[str]:
        return [word.upper() for word in words] + ([who.name] if who else [])

    @modelpack.api
    def turn(self, data: bytes) -> bytes:
        return data[::-1]

    @modelpack.api(nan="error")
    def strict(self, x: modelpack.Tensor["float64", "n"]) -> modelpack.Tensor["float64", "n"]:
        with np.errstate(invalid="ignore"):
            return np.log(x)

    @modelpack.api
    def write(self, prompt: str, times: int = 1) -> str:
        return " ".join([prompt.upper()] * times)

    @modelpack.api
    def tell(self, prompt: str) -> Iterator[str]:
        for word in prompt.split():
            if word == "stumble":
                raise RuntimeError("no more")
            yield word + " "


@dataclass
class Models:
    """A server, as clients of the protocol use it."""

    running: Any

    @property
    def url(self) -> str:
        return str(self.running.url)

    def get(self, path: str) -> httpx.Response:
        return self.running.client.get(f"/v2{path}")

    def post(self, path: str, body: Any = b"", **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.running.client.post(f"/v2{path}", content=content, headers=names)

    def infer(self, model: str, inputs: list[Any], **more: Any) -> httpx.Response:
        return self.post(f"/models/{model}/infer", {"inputs": inputs, **more})

    def binary(
        self, model: str, head: Any, data: bytes, *, length: int | None = None, **headers: str
    ) -> httpx.Response:
        """Send a body with ``data`` behind its JSON."""
        text = orjson.dumps(head)
        size = len(text) if length is None else length
        return self.post(
            f"/models/{model}/infer",
            text + data,
            inference_header_content_length=str(size),
            **headers,
        )


@pytest.fixture(scope="module", params=["fast", "asgi"])
def models(request: pytest.FixtureRequest, start_once: Callable[..., Any]) -> Models:
    return Models(start_once(Kinds, request.param, accept_encoding=True, max_body_bytes=2_000_000))


def tensor(name: str, data: Any, dtype: str, **more: Any) -> dict[str, Any]:
    """Return an input in JSON, its data flat."""
    array = np.array(data)
    return {
        "name": name,
        "shape": list(array.shape),
        "datatype": dtype,
        "data": array.reshape(-1).tolist(),
        **more,
    }


@pytest.fixture
def row() -> dict[str, Any]:
    return tensor("x", [[1, 2, 3, 4]], "FP32")
