"""YAML of the plain kind, with a place for every key."""

from __future__ import annotations

import math
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from modelpack.config.document import Place
from modelpack.config.yaml_file import MAX_DEPTH, read_yaml

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"]), max_size=12)
# The writer knows YAML 1.1, where 1e5 is a text, and leaves it without quotes; in 1.2 it is a number
# (https://yaml.org/spec/1.2.2/#1032-tag-resolution).
EXPONENT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+")
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | TEXT.filter(lambda text: EXPONENT.fullmatch(text) is None),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.parametrize(("text", "number"), [("1e5", 1e5), ("0E0", 0.0), ("-2.5e-3", -0.0025)])
def test_numbers_are_those_of_yaml_1_2(text: str, number: float) -> None:
    assert read_yaml(f"a: {text}", "f").values == {"a": number}


@given(st.dictionaries(TEXT, PLAIN, max_size=4), st.booleans())
def test_reads_what_a_yaml_writer_writes(values: dict[str, object], is_flow: bool) -> None:
    written = yaml.safe_dump(values, allow_unicode=True, default_flow_style=is_flow)
    document = read_yaml(written, "f")
    assert document.mistakes == []
    assert document.values == values


@given(st.text(max_size=60) | st.text(alphabet="ab:-[]{}'\"\n #&*!|>?%@,", max_size=30))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    """Whatever stands in the file, the answer is values or a mistake, never an exception."""
    document = read_yaml(text, "f")
    for mistake in document.mistakes:
        assert mistake.line is None or mistake.line >= 1
        assert "\n" not in mistake.what


def test_every_key_and_entry_has_its_place() -> None:
    places = read_yaml("a: 1\nb:\n  c: x\n  d: [p, q]\n", "f").places
    assert places[("a",)] == Place(1, 1)
    assert places[("b", "c")] == Place(3, 3)
    assert places[("b", "d", 1)] == Place(4, 10)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("NO", "NO"),
        ("true", True),
        ("False", False),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("0x10", "0x10"),
        ("010", 10),
        ("-3", -3),
        ("1e3", 1000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("1_000", "1_000"),
        ("~", None),
        ("'~'", "~"),
        ("'12'", "12"),
        (".inf", ".inf"),
    ],
)
def test_words_mean_what_yaml_1_2_says(written: str, value: object) -> None:
    read = read_yaml(f"a: {written}\n", "f").values["a"]
    assert read == value
    assert isinstance(read, type(value))


def test_number_remembers_how_it_was_written() -> None:
    value = read_yaml("a: 3.10\n", "f").values["a"]
    assert math.isclose(value, 3.1)  # type: ignore[arg-type]
    assert value.text == "3.10"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("a: &x 1\nb: *x\n", "f:1:4: anchors (&name) are not allowed: write the value out"),
        ("b: *x\n", "f:1:4: aliases (*name) are not allowed: write the value out"),
        ("a: !!python/object:os.system x\n", "f:1:4: tags (!name) are not allowed"),
        ("!!map {a: 1}\n", "f:1:1: tags (!name) are not allowed"),
        ("a: 1\n---\nb: 2\n", "f:2:1: a second document: the file holds one"),
        ("- a\n", "f:1:1: expected keys and values, such as 'name: digits'"),
        ("just words\n", "f:1:1: expected keys and values, such as 'name: digits'"),
        ("[a]: 1\n", "f:1:1: a key must be a word"),
        ("a: 1\na: 2\n", "f:2:1: the key 'a' stands twice, first in line 1"),
        ("a:\n  b: 1\n  b: {c: 1}\n", "f:3:3: the key 'a.b' stands twice, first in line 2"),
        ("a: [1, 2\n", "f:2:1: not valid YAML: a '[' is never closed"),
        ("a: {b: 1\n", "f:2:1: not valid YAML: a '{' is never closed"),
        ("a: 'x\n", "f:2:1: not valid YAML: the file ends inside of a quoted text"),
        (
            "a: b: c\n",
            (
                "f:1:5: not valid YAML: a ':' that does not belong here; text with a colon in it "
                "must stand in quotes"
            ),
        ),
        (
            "a:\n\tb: 1\n",
            (
                "f:2:1: not valid YAML: text that starts with a tab, '@', '`' or '%' must stand in "
                "quotes"
            ),
        ),
        ("a: 1\nb: \x00\n", "f:2:4: not valid YAML: a control character"),
    ],
)
def test_what_is_not_plain_is_refused_where_it_stands(text: str, mistake: str) -> None:
    assert [str(m) for m in read_yaml(text, "f").mistakes] == [mistake]


@pytest.mark.parametrize("text", ["[" * 1_000_000, "{a: " * 250_000, "- " * 500_000])
def test_deep_nesting_is_refused_at_once(text: str) -> None:
    """No stack overflow and no long wait (the parser is quadratic in depth)."""
    (mistake,) = read_yaml(text, "f").mistakes
    assert mistake.what == f"nested deeper than {MAX_DEPTH} levels"


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "~\n"])
def test_empty_file_says_nothing(text: str) -> None:
    document = read_yaml(text, "f")
    assert (document.values, document.mistakes) == ({}, [])
