"""The record inside a bundle has one byte form and refuses what it does not know."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from modelpack.errors import StoreError
from modelpack.manifest import BundleManifest, FileRecord, ModelRecord, canonical_json

FILE = FileRecord(path="service.py", mode=0o644, size=3, sha256="0" * 64)
BUNDLE = BundleManifest(
    service="service:Digits",
    model=None,
    python="3.11",
    files=(FILE,),
    models=({"name": "clf", "carries_code": False},),
    lock_sha256="1" * 64,
    apis=({"name": "predict"},),
    settings={"server": {"port": 80}},
)
MODEL = ModelRecord(
    name="clf", framework="onnx", files=(FILE,), requirements=("numpy",), labels={"a": "b"}
)


@pytest.mark.parametrize("record", [BUNDLE, MODEL])
def test_a_record_survives_its_byte_form(record: BundleManifest | ModelRecord) -> None:
    data = canonical_json(record.to_json())
    assert type(record).from_json(json.loads(data)) == record
    assert canonical_json(json.loads(data)) == data


def test_the_byte_form_does_not_depend_on_the_order_of_keys() -> None:
    assert canonical_json({"b": 1, "a": "é"}) == '{"a":"é","b":1}'.encode()
    assert canonical_json({"b": 1, "a": 2}) == canonical_json({"a": 2, "b": 1})


def test_nan_has_no_byte_form() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))


@pytest.mark.parametrize(
    "change",
    [{"schema": 2}, {"schema": None}, {"extra": 1}, {"files": [{"path": "a"}]}, {"files": 5}],
)
def test_a_record_of_another_form_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(StoreError):
        BundleManifest.from_json({**BUNDLE.to_json(), **change})


def test_a_record_with_a_missing_key_is_refused() -> None:
    plain = BUNDLE.to_json()
    del plain["python"]
    with pytest.raises(StoreError):
        BundleManifest.from_json(plain)


def test_a_bundle_says_when_a_model_carries_code() -> None:
    assert not BUNDLE.carries_code
    assert replace(BUNDLE, models=({"carries_code": True},)).carries_code
