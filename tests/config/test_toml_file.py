"""The table in pyproject.toml, with the places that tomllib does not give."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.config.document import Place
from modelpack.config.toml_file import read_toml

PYPROJECT = '''\
[project]
name = "x"  # [tool.modelpack]
description = """
[tool.modelpack]
name = 'decoy'
"""
[[project.lists]]
a = [ "[tool.modelpack]", # c
  'b"]' ]

[tool.modelpack]
name = "digits"
requirements = [
  "numpy>=2",  # one
  "a[b]",
]
server.port = 99
"image" = { base = "x", env = { A = "1" } }

[ tool . "modelpack" . deploy ]
host = 'x'

[tool.modelpack.deploy.resources]
cpu = 1.5
'''


def test_table_is_read_and_every_key_has_its_place() -> None:
    document = read_toml(PYPROJECT, "pyproject.toml")

    assert document is not None
    assert document.mistakes == []
    assert document.values["requirements"] == ["numpy>=2", "a[b]"]
    assert document.places == {
        (): Place(11, 1),
        ("name",): Place(12, 1),
        ("requirements",): Place(13, 1),
        ("requirements", 0): Place(14, 3),
        ("requirements", 1): Place(15, 3),
        ("server",): Place(17, 1),
        ("server", "port"): Place(17, 8),
        ("image",): Place(18, 1),
        ("image", "base"): Place(18, 13),
        ("image", "env"): Place(18, 25),
        ("image", "env", "A"): Place(18, 33),
        ("deploy",): Place(20, 1),
        ("deploy", "host"): Place(21, 1),
        ("deploy", "resources"): Place(23, 1),
        ("deploy", "resources", "cpu"): Place(24, 1),
    }


@pytest.mark.parametrize(
    "text",
    ["", "[project]\nname = 'modelpack-user'\n", "[tool.other]\nx = 'modelpack'\n", "not toml"],
)
def test_file_without_the_table_has_no_settings(text: str) -> None:
    assert read_toml(text, "f") is None


def test_bad_toml_is_a_mistake_where_it_stands() -> None:
    document = read_toml("[tool.modelpack]\nname = \n", "f")
    assert document is not None
    assert [str(m) for m in document.mistakes] == ["f:2:8: not valid TOML: invalid value"]


def test_modelpack_must_be_a_table() -> None:
    document = read_toml("[tool]\nmodelpack = 1\n", "f")
    assert document is not None
    assert [str(m) for m in document.mistakes] == ["f:2:1: tool.modelpack must be a table"]


KEY = st.text("ab-_1", min_size=1, max_size=4) | st.text("a .#'[]=é", max_size=5).map(
    lambda text: '"' + text + '"'
)
STRING = st.text("ab#[]{}=,.' ", max_size=8).map(lambda text: '"' + text + '"') | st.sampled_from(
    ["1", "-1.5", "true", "2024-01-01", '"""\n[x]\n"""', "'''\na = \"1\"'''", '""""quoted""""']
)
VALUE = st.recursive(
    STRING,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda v: "[" + ",\n ".join(v) + "]")
        | st.dictionaries(KEY, inner, max_size=2).map(
            lambda v: "{" + ", ".join(f"{k} = {x}" for k, x in v.items()) + "}"
        )
    ),
    max_leaves=5,
)


@given(st.dictionaries(KEY, VALUE, max_size=4))
def test_each_key_of_the_values_has_a_place_that_shows_it(pairs: dict[str, str]) -> None:
    """Whatever the values look like, no key is missed and none is made up."""
    text = "[tool.modelpack]\n" + "".join(f"{k} = {v}\n" for k, v in pairs.items())
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return  # the same key in two spellings, or a line break that TOML 1.0 refuses
    document = read_toml(text, "f")

    assert document is not None
    assert set(document.places) == {(), *paths(document.values)}
    lines = text.split("\n")
    for path, place in document.places.items():
        rest = lines[place.line - 1][place.column - 1 :]
        if path and isinstance(path[-1], str):
            assert rest.startswith((path[-1] or '"', '"'))


def paths(value: object, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found: list[tuple[str | int, ...]] = []
    items: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for key, inner in items:
        found += [(*at, key), *paths(inner, (*at, key))]
    return found
