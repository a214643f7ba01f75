"""A pickle from the wire is never loaded, whatever it is called (threat model S1)."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelpack


class Canary:
    """Leaves a file behind when it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


@modelpack.service
class Apis:
    @modelpack.api(batch=True)
    def rows(self, x: modelpack.Tensor["float32", "batch", 2]) -> list[float]:
        return x.sum(axis=1).tolist()

    @modelpack.api
    def shapeless(self, x: modelpack.Tensor["float32"]) -> float:
        return float(x.sum())

    @modelpack.api
    def size(self, file: bytes) -> int:
        return len(file)

    @modelpack.api
    def anything(self, x: Any) -> Any:
        return x


KINDS = [
    "application/json", "application/octet-stream", "application/x-npy", "application/x-npz",
    "application/python-pickle", "application/x-python-pickle", "application/x-pickle",
    "application/pickle", "application/vnd.bentoml+pickle", "application/x-numpy",
    "application/x-joblib", "application/cloudpickle", "multipart/form-data; boundary=b",
    "text/plain", "image/png", "",
]  # fmt: skip


def npy_of_objects(canary: Canary) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([canary], dtype=object), allow_pickle=True)
    return file.getvalue()


def npz_of_objects(canary: Canary) -> bytes:
    file = io.BytesIO()
    np.savez(file, x=np.array([canary], dtype=object))
    return file.getvalue()


def in_a_form(data: bytes) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="x"; filename="x.pkl"\r\n\r\n'
    return head + data + b"\r\n--b--\r\n"


def test_the_canary_would_sing(tmp_path: Path) -> None:
    for number, load in enumerate((pickle.loads, load_npy)):
        canary = Canary(tmp_path / str(number))
        load(pickle.dumps(canary) if load is pickle.loads else npy_of_objects(canary))
        assert canary.file.exists()


def load_npy(data: bytes) -> Any:
    return np.load(io.BytesIO(data), allow_pickle=True)


@pytest.mark.parametrize("path", ["/rows", "/shapeless", "/size", "/anything"])
def test_a_canary_stays_silent_under_every_content_type(
    start: Callable[..., Any], lane: str, tmp_path: Path, path: str
) -> None:
    server = start(Apis, lane, accept_encoding=True)
    canary = Canary(tmp_path / "sang")
    plain = pickle.dumps(canary)
    bodies = [plain, npy_of_objects(canary), npz_of_objects(canary), in_a_form(plain)]

    for kind in KINDS:
        for body in bodies:
            headers = {"content-type": kind, "modelpack-dtype": "object", "modelpack-shape": "1"}
            answer = server.client.post(path, content=body, headers=headers)
            is_a_file = path == "/size" and kind == "application/octet-stream"
            assert answer.status_code == 200 if is_a_file else answer.status_code in (400, 415)

    assert not canary.file.exists()
