"""Every kind of input: what a row becomes, what cannot be read, and going on from any place."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelpack.errors import BatchError, NotFoundError, UsageError
from modelpack.offline.block import Block
from modelpack.offline.hello import Hello, Param
from modelpack.offline.inputs import Asked, find_input, open_reader
from modelpack.offline.inputs.cells import cell_value

MOST = 1 << 20


def param(name: str, **facts: Any) -> Param:
    settings: dict[str, Any] = {
        "is_required": True,
        "is_batched": True,
        "dtype": None,
        "shape": None,
        "is_file": False,
        "is_text": False,
        "schema": {},
    }
    return Param(name=name, **{**settings, **facts})


VECTOR = param("x", dtype="float32", shape=(2,), schema={"type": "array"})
TEXT = param("text", is_text=True, schema={"type": "string"})
COUNT = param("count", is_required=False, schema={"type": "integer"})
RECORD = param("flower", schema={"type": "object", "properties": {"a": {}, "b": {}}})
IMAGE = param("image", is_file=True, schema={"type": "string", "contentMediaType": "image/png"})


def api(*params: Param) -> Hello:
    return Hello(
        service="s",
        api="predict",
        runner="inline",
        max_batch_size=4,
        parameters=params,
        output_schema={},
        is_one_array=False,
        is_file=False,
        is_stream=False,
    )


def read(file: Path, asked: Asked, position: Any = None, rows: int = 3) -> list[Block]:
    reader = open_reader(find_input(str(file)), asked, position)
    blocks = []
    try:
        while (block := reader.take(rows, MOST)) is not None:
            blocks.append(block)
    finally:
        reader.close()
    return blocks


def bodies(blocks: list[Block]) -> list[tuple[int, Any]]:
    found = []
    for block in blocks:
        for place, number in enumerate(block.numbers):
            row = block.row_at(place)
            plain = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in row.items()}
            found.append((number, plain))
    return found


def as_csv(folder: Path, _: Any = None) -> Path:
    file = folder / "rows.csv"
    file.write_text("a,b\n" + "".join(f"{i},{i}.5\n" for i in range(10)))
    return file


def as_gzip(folder: Path) -> Path:
    file = folder / "rows.csv.gz"
    file.write_bytes(gzip.compress(as_csv(folder).read_bytes()))
    return file


def as_jsonl(folder: Path) -> Path:
    file = folder / "rows.jsonl"
    file.write_text("".join(f'{{"x": [{i}, {i}.5]}}\n\n' for i in range(10)))
    return file


def as_npy(folder: Path) -> Path:
    np.save(folder / "rows.npy", np.array([[i, i + 0.5] for i in range(10)], ">f4"))
    return folder / "rows.npy"


def as_parquet(folder: Path) -> Path:
    table = pa.table({"a": np.arange(10.0), "b": np.arange(10) + 0.5})
    pq.write_table(table, folder / "rows.parquet", row_group_size=4)
    return folder / "rows.parquet"


@pytest.mark.parametrize("make", [as_csv, as_gzip, as_jsonl, as_npy, as_parquet])
def test_the_same_rows_in_any_form_are_the_same_and_go_on_from_any_place(
    tmp_path: Path, make: Any
) -> None:
    file = make(tmp_path)
    asked = Asked(api(VECTOR))
    whole = read(file, asked)
    assert bodies(whole) == [(i, {"x": [i, i + 0.5]}) for i in range(10)]
    for block in whole:
        position = json.loads(json.dumps(block.end))  # as it is kept beside the output
        rest = bodies(read(file, asked, position, rows=100))
        assert rest == [(i, {"x": [i, i + 0.5]}) for i in range(block.first + block.count, 10)]


def test_columns_with_the_names_of_parameters_are_those(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text('id,count,text\n7,2,12\n8,,"a ""quoted"",\nline"\n')
    blocks = read(file, Asked(api(TEXT, COUNT), keep=("id",)))
    assert bodies(blocks) == [
        (0, {"count": 2, "text": "12"}),  # a text stays one
        (1, {"text": 'a "quoted",\nline'}),  # an empty cell is left out
    ]
    assert blocks[0].kept == {"id": ["7", "8"]}


def test_columns_of_an_object_are_its_keys(tmp_path: Path) -> None:
    file = tmp_path / "rows.tsv"
    file.write_text("a\tb\n1\tx y\n")
    assert bodies(read(file, Asked(api(RECORD)))) == [(0, {"flower": {"a": 1, "b": "x y"}})]


def test_rows_that_are_no_rows_are_told_apart_and_the_next_ones_are_read(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes(b'a,b\n1,2\n1,2,3\n"1"x,2\n5,\xff\n6,7\n')
    blocks = read(file, Asked(api(VECTOR)), rows=100)
    assert [number for block in blocks for number in block.numbers] == [0, 4]
    assert [(bad.number, bad.code) for block in blocks for bad in block.bad] == [
        (1, "bad-csv"),
        (2, "bad-csv"),
        (3, "bad-csv"),
    ]
    lines = tmp_path / "rows.jsonl"
    lines.write_text('[1, 2]\n{"x": [1,\n{"x": [3, 4]}\n')
    blocks = read(lines, Asked(api(VECTOR)), rows=100)
    assert bodies(blocks) == [(0, {"x": [1, 2]}), (2, {"x": [3, 4]})]
    assert [bad.number for bad in blocks[0].bad] == [1]


def test_two_broken_lines_are_not_one_good_row(tmp_path: Path) -> None:
    lines = tmp_path / "rows.jsonl"
    lines.write_text('{"x": [1,\n2]}\n')
    assert [len(block.bad) for block in read(lines, Asked(api(VECTOR)))] == [2]


def test_a_key_that_stands_twice_in_a_line_is_a_bad_row(tmp_path: Path) -> None:
    """As in the body of a request: which of the two counts is for nobody to guess."""
    lines = tmp_path / "rows.jsonl"
    lines.write_text('{"x": [1, 2], "x": [3, 4]}\n{"x": [5, 6]}\n[{"a": 1, "a": 2}]\n')
    (block,) = read(lines, Asked(api(VECTOR)), rows=100)
    assert block.numbers == [1]
    assert [(bad.number, bad.code) for bad in block.bad] == [(0, "bad-json"), (2, "bad-json")]
    assert "'x' stands twice" in block.bad[0].detail


def test_a_table_of_parquet_gives_lists_texts_and_nulls_as_they_are(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", None], "count": pa.array([1, 2], pa.int32())})
    pq.write_table(table, tmp_path / "t.parquet")
    assert bodies(read(tmp_path / "t.parquet", Asked(api(TEXT, COUNT)))) == [
        (0, {"text": "a", "count": 1}),
        (1, {"count": 2}),
    ]
    lists = pa.table({"x": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32()))})
    pq.write_table(lists, tmp_path / "l.parquet")
    (block,) = read(tmp_path / "l.parquet", Asked(api(VECTOR)))
    assert block.arrays is not None
    assert block.arrays["x"].dtype == np.float32
    uneven = pa.table({"x": pa.array([[1.0], [3.0, 4.0]])})
    pq.write_table(uneven, tmp_path / "u.parquet")
    assert bodies(read(tmp_path / "u.parquet", Asked(api(VECTOR)))) == [
        (0, {"x": [1.0]}),
        (1, {"x": [3.0, 4.0]}),
    ]


def test_flat_rows_get_the_axes_of_their_array(tmp_path: Path) -> None:
    square = replace(VECTOR, shape=(1, 2))
    assert bodies(read(as_csv(tmp_path), Asked(api(square))))[1] == (1, {"x": [[1.0, 1.5]]})
    assert bodies(read(as_parquet(tmp_path), Asked(api(square))))[1] == (1, {"x": [[1.0, 1.5]]})


def test_files_of_a_folder_are_rows_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    (folder / "b").mkdir(parents=True)
    for name in ("c.png", "b/a.JPG", ".hidden.png", "notes.txt"):
        (folder / name).write_bytes(name.encode())
    blocks = read(folder, Asked(api(IMAGE)))
    assert [block.kept for block in blocks] == [{"file": ["b/a.JPG", "c.png"]}]
    assert bodies(blocks) == [(0, {"image": b"b/a.JPG"}), (1, {"image": b"c.png"})]


def test_a_file_that_cannot_be_read_is_a_bad_row(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"1")
    reader = open_reader(find_input(str(tmp_path)), Asked(api(IMAGE)))
    (tmp_path / "a.png").unlink()
    block = reader.take(10, MOST)
    reader.close()
    assert block is not None
    assert [bad.number for bad in block.bad] == [0]
    assert block.numbers == [1]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1.50", 1.5),
        (" 2 ", 2),
        ("+3", 3.0),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("true", True),
        ("FALSE", False),
        ("", None),
        ("[1, 2]", [1, 2]),
        ("1_000", "1_000"),
        ("nan", "nan"),
        ("2024-01-01", "2024-01-01"),
    ],
)
def test_a_cell_is_read_as_people_mean_it(text: str, value: Any) -> None:
    found = cell_value(text)
    assert found == value
    assert type(found) is type(value)


def test_true_among_numbers_is_no_number(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("a,b\n1,true\n2,3\n")
    (block,) = read(file, Asked(api(VECTOR)))
    assert block.rows == [{"x": [1, True]}, {"x": [2, 3]}]


def test_a_row_longer_than_the_memory_for_it_is_refused(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modelpack.offline.inputs.lines.MOST_LINE_BYTES", 64)
        (tmp_path / "rows.jsonl").write_text('{"x": "' + "a" * 100 + '"}')
        with pytest.raises(BatchError, match="longer than"):
            read(tmp_path / "rows.jsonl", Asked(api(VECTOR)))


@pytest.mark.parametrize(
    ("text", "asked", "match"),
    [
        ("a,b,c\n", Asked(api(VECTOR)), "2 values, the table 3 columns"),
        ("a,b\n", Asked(api(VECTOR), keep=("c",)), "no column 'c' to keep"),
        ("a,a\n", Asked(api(VECTOR)), "two columns are named 'a'"),
        ("text,b\n", Asked(api(TEXT)), "'b': no parameter of 'predict'"),
        ("a,b\n", Asked(api(TEXT, VECTOR)), "takes 'text', 'x'"),
        ("", Asked(api(VECTOR)), "is empty"),
        ("1,2\n3,4\n", Asked(api(VECTOR)), "has to name the columns, and is numbers"),
        ("0,1.5\n3,4\n", Asked(api(VECTOR)), "has to name the columns, and is numbers"),
    ],
)
def test_a_table_that_cannot_fit_is_refused_before_a_row_is_read(
    tmp_path: Path, text: str, asked: Asked, match: str
) -> None:
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(BatchError, match=match):
        read(tmp_path / "rows.csv", asked)


def test_columns_may_be_named_by_their_numbers_as_pandas_does(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("0,1\n3,4\n")
    (block,) = read(tmp_path / "rows.csv", Asked(api(VECTOR)))
    assert block.count == 1


def test_arrays_that_have_no_rows_of_numbers_are_refused(tmp_path: Path) -> None:
    for name, array in {
        "objects": np.array([{"a": 1}], object),
        "order": np.asfortranarray(np.ones((3, 2))),
        "single": np.array(1.0),
    }.items():
        np.save(tmp_path / f"{name}.npy", array)
        with pytest.raises(BatchError):
            read(tmp_path / f"{name}.npy", Asked(api(VECTOR)))
    data = as_npy(tmp_path).read_bytes()
    (tmp_path / "short.npy").write_bytes(data[:-3])
    with pytest.raises(BatchError, match="cut off"):
        read(tmp_path / "short.npy", Asked(api(VECTOR)))
    (tmp_path / "none.npy").write_bytes(b"nothing")
    with pytest.raises(BatchError, match=r"no \.npy file"):
        read(tmp_path / "none.npy", Asked(api(VECTOR)))


def test_an_input_that_is_not_there_or_says_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no file"):
        find_input(str(tmp_path / "rows.csv"))
    (tmp_path / "rows.json").write_text("[1]")
    with pytest.raises(UsageError) as caught:
        find_input(str(tmp_path / "rows.json"))
    assert caught.value.hint == "write one row a line and name it .jsonl"
    (tmp_path / "rows.dat").write_text("x")
    with pytest.raises(UsageError, match="does not say what it is"):
        find_input(str(tmp_path / "rows.dat"))
    assert find_input(str(tmp_path / "rows.dat"), "csv").format == "csv"
