from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack.archive import LockedPackage, build_bundle
from modelpack.archive.sbom import sbom_bytes
from modelpack.config.settings import Project
from modelpack.manifest import FileRecord, ModelRecord
from modelpack.sdk.service import ServiceSpec
from modelpack.store import Entry, Kind, Store
from modelpack.tag import Tag

Hello = Callable[..., tuple[Project, ServiceSpec]]

MODEL = ModelRecord(
    name="clf",
    framework="onnx",
    files=(FileRecord(path="model.onnx", mode=0o644, size=7, sha256="b" * 64),),
    inputs=({"name": "x", "dtype": "float32", "shape": ["batch", 64]},),
    outputs=({"name": "label", "dtype": "int64", "shape": [None]},),
)
ENTRY = Entry(Kind.MODEL, Tag("clf", "1"), "sha256:" + "c" * 64, 7, (), {})
PACKAGES = (
    LockedPackage("numpy", "2.4.6", None, ("sha256:" + "2" * 64, "sha256:" + "1" * 64)),
    LockedPackage("tiny", "1.0+cpu", "python_full_version < '3.12'", ("sha256:" + "3" * 64,)),
    LockedPackage("tiny", "1.1", "python_full_version >= '3.12'", ("sha256:" + "4" * 64,)),
)


def made(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "service": "service:Hello",
        "python": "3.11",
        "packages": PACKAGES,
        "models": [(ENTRY, MODEL)],
        **changes,
    }
    value: dict[str, Any] = json.loads(sbom_bytes(**given))
    return value


@pytest.mark.parametrize(
    "changes", [{}, {"models": []}, {"packages": ()}, {"packages": (), "models": []}]
)
def test_it_is_valid_by_the_schema_and_readable_for_the_library(changes: dict[str, Any]) -> None:
    from cyclonedx.model.bom import Bom
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    value = made(**changes)
    text = json.dumps(value)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = Bom.from_json(value)  # type: ignore[attr-defined]  # made by a decorator
    assert bom.validate()
    assert len(bom.components) == len(value["components"])


def test_the_validator_would_find_a_mistake() -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    value = made()
    value["components"][0]["type"] = "weights"
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(value)) is not None


def test_packages_have_a_purl_and_the_hashes_of_the_lock() -> None:
    found = {one["bom-ref"]: one for one in made()["components"] if one["type"] == "library"}
    numpy = found["pkg:pypi/numpy@2.4.6"]
    assert (numpy["name"], numpy["version"], numpy["purl"]) == (
        "numpy",
        "2.4.6",
        "pkg:pypi/numpy@2.4.6",
    )
    assert [one["content"] for one in numpy["hashes"]] == ["1" * 64, "2" * 64]
    assert {one["purl"] for one in found.values() if one["name"] == "tiny"} == {
        "pkg:pypi/tiny@1.0%2Bcpu",
        "pkg:pypi/tiny@1.1",
    }


def test_models_say_what_goes_in_and_what_comes_out() -> None:
    (model,) = [one for one in made()["components"] if one["type"] == "machine-learning-model"]
    assert (model["name"], model["version"]) == ("clf", "1")
    assert model["hashes"] == [{"alg": "SHA-256", "content": "c" * 64}]
    assert model["modelCard"]["modelParameters"] == {
        "inputs": [{"format": "x: float32[batch, 64]"}],
        "outputs": [{"format": "label: int64[?]"}],
    }
    (file,) = model["components"]
    assert (file["name"], file["hashes"][0]["content"]) == ("model.onnx", "b" * 64)


def test_everything_that_is_listed_is_needed_by_the_service() -> None:
    value = made()
    root, *others = value["dependencies"]
    assert root["ref"] == value["metadata"]["component"]["bom-ref"]
    assert root["dependsOn"] == [one["bom-ref"] for one in value["components"]]
    assert [one["ref"] for one in others] == root["dependsOn"]


def test_no_time_no_tool_and_a_serial_number_of_the_content() -> None:
    value = made()
    assert set(value["metadata"]) == {"lifecycles", "component"}
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", value["serialNumber"])
    assert made(packages=PACKAGES[::-1]) == value
    assert made(python="3.12")["serialNumber"] != value["serialNumber"]


@pytest.mark.usefixtures("index")
def test_a_bundle_carries_it_and_its_record_names_it(
    hello: Hello, store: Store, tmp_path: Path
) -> None:
    project, spec = hello({"README.md": "# hi"}, requirements=("tiny",))
    entry = build_bundle(project, spec, store=store).entry
    folder = store.unpack(entry, tmp_path / "out")
    value = json.loads((folder / "doc" / "sbom.cdx.json").read_bytes())
    assert {"tiny", "tiny-helper", "numpy"} <= {one["name"] for one in value["components"]}
    assert value["metadata"]["component"]["name"] == "service:Hello"
    docs = [file.path for file in store.bundle_manifest(entry).docs]
    assert docs == ["README.md", "sbom.cdx.json"]
    store.verify(entry)
