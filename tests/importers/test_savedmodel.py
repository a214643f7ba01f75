"""SavedModel folders: versions, and the signature that stands in the graph."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.errors import RefusedError
from modelpack.importers.savedmodel import SavedModelImporter
from modelpack.importers.wire import fields, mapping


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value % 2**64)
    return varint(number << 3 | 2) + varint(len(value)) + value


def entry(name: str, value: bytes) -> bytes:
    return field(1, name.encode()) + field(2, value)


def tensor(dtype: int, *dims: int) -> bytes:
    return field(2, dtype) + field(3, b"".join(field(2, field(1, dim)) for dim in dims))


GRAPH = field(1, 1) + field(
    2,
    field(
        5,
        entry(
            "serving_default",
            field(1, entry("x", tensor(1, -1, 3)))
            + field(1, entry("n", tensor(9, -1)))
            + field(2, entry("y", tensor(2, -1, 2))),
        ),
    ),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A base folder with two versions."""
    root = tmp_path / "half-plus"
    for version in ("2", "10"):
        (root / version / "variables").mkdir(parents=True)
        (root / version / "saved_model.pb").write_bytes(GRAPH)
    return root


def test_the_newest_version_and_its_signature_are_taken(folder: Path, tmp_path: Path) -> None:
    assert SavedModelImporter().recognises(folder)
    (model,) = SavedModelImporter().read(folder, tmp_path).models

    assert (model.name, model.version, model.place.name) == ("half-plus", "10", "10")
    assert model.inputs == (
        {"name": "n", "dtype": "int64", "shape": [None]},
        {"name": "x", "dtype": "float32", "shape": [None, 3]},
    )
    assert model.outputs == ({"name": "y", "dtype": "float64", "shape": [None, 2]},)
    assert [one.what for one in model.left] == ["version 2"]


def test_a_folder_of_one_model_is_taken_as_it_is(folder: Path, tmp_path: Path) -> None:
    (model,) = SavedModelImporter().read(folder / "2", tmp_path).models

    assert model.version is None


@pytest.mark.parametrize("data", [b"", b"\xff" * 20, GRAPH[:-3], b"\x0b"])
def test_a_graph_that_is_none_is_refused(folder: Path, tmp_path: Path, data: bytes) -> None:
    (folder / "10" / "saved_model.pb").write_bytes(data)

    with pytest.raises(RefusedError, match="is no SavedModel"):
        SavedModelImporter().read(folder, tmp_path)


@given(st.binary(max_size=60))
def test_any_bytes_are_fields_or_malformed(data: bytes) -> None:
    with suppress(ValueError):
        list(fields(memoryview(data)))


@given(st.dictionaries(st.text(max_size=5), st.binary(max_size=5), max_size=4))
def test_a_map_that_was_written_is_read_again(pairs: dict[str, bytes]) -> None:
    data = b"".join(field(7, entry(name, value)) for name, value in pairs.items())

    assert {k: bytes(v) for k, v in mapping(memoryview(data), 7).items()} == pairs
