"""The published schema says the same as the code that checks."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import jsonschema
import pytest

from modelpack.config.deploying import GROUPS
from modelpack.config.load import load_project
from modelpack.config.reference import reference_page
from modelpack.config.schema import PROJECT_KEYS, field_docs, file_schema
from modelpack.config.settings import DeploySettings, ImageSettings, Project, ServerSettings
from modelpack.errors import ConfigError

DOCS = Path(__file__).parents[2] / "docs" / "reference"


def test_every_setting_can_be_written_in_the_file() -> None:
    schema = file_schema()

    def keys(name: str) -> set[str]:
        return set(schema["$defs"][name]["properties"])

    def names(cls: type) -> set[str]:
        return {f.name for f in fields(cls)}

    assert keys("Server") == names(ServerSettings)
    assert keys("Image") == names(ImageSettings) - {"max_size_bytes"} | {"max_size"}
    grouped = {field for members in GROUPS.values() for field in members}
    assert keys("Deploy") == names(DeploySettings) - grouped | set(GROUPS)
    assert keys("Resources") == {"cpu", "memory", "accelerator", "instance"}
    assert {"min", "max"} == keys("Scaling") - set(GROUPS["scaling"])
    assert keys("Network") == set(GROUPS["network"])
    assert set(schema["properties"]) == names(Project) - {"root", "source", "places"}
    assert set(PROJECT_KEYS) < names(Project)


@pytest.mark.parametrize("cls", [ServerSettings, ImageSettings, DeploySettings, Project])
def test_every_setting_has_a_docstring(cls: type) -> None:
    named = {f.name for f in fields(cls)} - {"server", "image", "deploy"}
    assert named <= set(field_docs(cls))


def test_schema_is_a_valid_schema_whose_defaults_fit_it() -> None:
    schema = file_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for section in [schema, *schema["$defs"].values()]:
        defaults = {k: v["default"] for k, v in section["properties"].items() if "default" in v}
        whole = {**section, "$defs": schema["$defs"]}
        jsonschema.validate(defaults, whole, cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("values", "is_good"),
    [
        ({"name": "digits", "server": {"port": 1}}, True),
        ({"deploy": {"resources": {"memory": "512MB", "cpu": 1}}}, True),
        ({"deploy": {"resources": {"memory": "512M"}}}, False),
        ({"deploy": {"resources": {"memory": "a lot"}}}, False),
        ({"image": {"max_size": "500MB"}}, True),
        ({"image": {"max_size": 500_000_000}}, True),
        ({"image": {"max_size": "500M"}}, False),
        ({"image": {"max_size_bytes": 1}}, False),
        ({"inclde": []}, False),
        ({"server": {"port": "1"}}, False),
        ({"requirements": "numpy"}, False),
        ({"image": []}, False),
    ],
)
def test_schema_and_loader_agree(tmp_path: Path, values: object, is_good: bool) -> None:
    (tmp_path / "modelpack.yaml").write_text(json.dumps(values))
    fits = jsonschema.Draft202012Validator(file_schema()).is_valid(values)
    try:
        load_project(tmp_path)
    except ConfigError:
        loads = False
    else:
        loads = True
    assert (fits, loads) == (is_good, is_good)


def test_reference_page_is_the_one_that_the_code_writes() -> None:
    """After a change: python -m modelpack.config.reference > docs/reference/configuration.md."""
    assert (DOCS / "configuration.md").read_text(encoding="utf-8") == reference_page()


def test_example_on_the_reference_page_is_a_valid_file(tmp_path: Path) -> None:
    example = reference_page().partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "modelpack.yaml").write_text(example)
    assert load_project(tmp_path).deploy.memory_bytes == 512_000_000
