"""Tables: requests whose inputs are columns, as MLServer's codec for pandas writes them."""

from __future__ import annotations

from typing import Any

import pytest

TABLE = {"content_type": "pd"}


def column(name: str, data: Any, datatype: str = "FP64", shape: Any = None) -> dict[str, Any]:
    return {
        "name": name,
        "shape": shape or [len(data), 1],
        "datatype": datatype,
        "data": data,
        "parameters": {"content_type": "np"},
    }


COLUMNS = [
    column("w", [1, 5]),
    column("x", [2, 6], "INT64"),
    column("y", [3.0, 7.0], shape=[2]),
    column("z", [[4], [8]]),
]


def test_columns_are_the_rows_of_the_only_table(models: Any) -> None:
    for _ in range(2):
        answer = models.infer("kinds", COLUMNS, parameters=TABLE, id="7")

        assert answer.json()["outputs"][0]["data"] == [0, 2, 4, 8, 10, 12]
        assert answer.json()["id"] == "7"


def test_columns_are_parameters_where_the_api_has_their_names(models: Any) -> None:
    columns = [column("b", [True, False], "BOOL"), column("a", [1, 2], "INT64")]

    answer = models.infer("kinds.both", columns, parameters=TABLE)

    assert answer.json()["outputs"][0]["data"] == [2, 2]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ([], "a list of columns"),
        (None, "a list of columns"),
        ([7], "a column with name"),
        (COLUMNS[:3], "3 instead of 4 on axis 1"),
        ([*COLUMNS[:3], column("z", [1])], "columns of one length"),
        ([*COLUMNS[:3], column("z", [1, 2], shape=[1, 2])], "the shape of a column of 2 values"),
        ([*COLUMNS[:3], {"name": "z", "shape": [2]}], "/inputs/3/data: expected the values"),
        ([*COLUMNS[:3], column("z", [1, "2"], "BYTES")], "/inputs/0/data/7: expected a number"),
    ],
)
def test_what_is_no_table_is_refused(models: Any, columns: Any, said: str) -> None:
    answer = models.post("/models/kinds/infer", {"inputs": columns, "parameters": TABLE})

    assert answer.status_code == 400
    assert said in answer.json()["error"]


def test_columns_that_fit_no_parameter_name_those_that_there_are(models: Any) -> None:
    answer = models.infer("kinds.both", COLUMNS, parameters=TABLE)

    assert answer.status_code == 400
    assert "the columns 'a', 'b', 'add'" in answer.json()["error"]
