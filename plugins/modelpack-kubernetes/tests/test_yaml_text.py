"""YAML that Go reads as we mean it."""

from __future__ import annotations

import pytest
import yaml
from modelpack_kubernetes.yaml_text import as_yaml


@pytest.mark.parametrize(
    "text", ["1e3", "7e1", "0o7", "0x1F", "1_000", "y", "N", "no", "~", "+1", ".5", "2026-01-01"]
)
def test_text_that_others_take_for_something_else_has_quotes(text: str) -> None:
    assert as_yaml({"a": text}) == f"a: '{text}'\n"


@pytest.mark.parametrize(
    "text", ["", " a ", "it's", "a: b", "# a", "{{ x }}", "ä", "1\t2", "@a", "!x", "%", "a\\b"]
)
def test_any_text_comes_back(text: str) -> None:
    assert yaml.safe_load(as_yaml({"a": text})) == {"a": text}


def test_what_stands_twice_is_written_twice() -> None:
    same = {"x": 1}
    assert as_yaml({"a": same, "b": same}) == "a:\n  x: 1\nb:\n  x: 1\n"


def test_objects_are_documents_of_one_file() -> None:
    assert as_yaml({"a": 1}, {"b": 2}) == "a: 1\n---\nb: 2\n"
