"""The reference of the Python interface names everything that is public, and nothing else."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import modelpack
from modelpack.sdk.tensor import DTYPES

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "sdk.md").read_text()
SECTIONS = dict(
    re.findall(r"^## `modelpack\.(\w+)`\n(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)
)


def test_every_public_name_has_its_section() -> None:
    assert set(SECTIONS) == set(modelpack.__all__)


@pytest.mark.parametrize("name", ["service", "api"])
def test_every_parameter_of_a_decorator_has_its_line(name: str) -> None:
    parameters = inspect.signature(getattr(modelpack, name)).parameters.values()
    named = {one.name for one in parameters if one.kind is one.KEYWORD_ONLY}

    assert set(re.findall(r"^\| `(\w+)` \|", SECTIONS[name], flags=re.MULTILINE)) == named


@pytest.mark.parametrize("function", modelpack.models.__all__)
def test_functions_for_models_are_spelled_with_their_parameters(function: str) -> None:
    spelled = f"`{function}({_parameters(getattr(modelpack.models, function))})`"

    assert spelled in SECTIONS["models"]


def test_every_dtype_is_listed() -> None:
    listed = re.findall(r"`(\w+)`", SECTIONS["Tensor"].partition("Dtypes:")[2])

    assert listed == list(DTYPES)


def test_defaults_of_an_api_are_those_of_the_code() -> None:
    default = inspect.signature(modelpack.api).parameters["max_batch_size"].default

    assert f"| `max_batch_size` | {default} |" in SECTIONS["api"]


def _parameters(function: Callable[..., Any]) -> str:
    signature = inspect.signature(function)
    plain = [one.replace(annotation=one.empty) for one in signature.parameters.values()]
    shown = str(inspect.Signature(plain))
    return shown[1:-1]
