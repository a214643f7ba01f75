"""A statement is read only when it is whole, and names every file that differs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.errors import RefusedError
from modelpack.trust import load_public_key
from modelpack.trust.envelope import PAYLOAD_TYPE, open_envelope, seal
from modelpack.trust.statement import OUR_KEY, Statement, read_statement

DATA = Path(__file__).parent / "data"
A, B = "aa" * 32, "bb" * 32
WHOLE = Statement(
    name="digits:1",
    files={"b.txt": A, "a/c.txt": B},
    manifest="sha256:" + "1" * 64,
    expires=datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC),
)


def test_statement_comes_back_as_it_was_written() -> None:
    assert read_statement(WHOLE.to_json()) == WHOLE


@given(
    files=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
        st.binary(min_size=32, max_size=32).map(bytes.hex),
        max_size=6,
    )
)
def test_any_names_come_back(files: dict[str, str]) -> None:
    statement = Statement(name="x:1", files=files)
    again = read_statement(statement.to_json())
    assert again == statement
    assert again.difference_to(files) is None


def test_order_of_the_files_changes_nothing() -> None:
    other = Statement(
        name=WHOLE.name,
        files=dict(reversed(WHOLE.files.items())),
        manifest=WHOLE.manifest,
        expires=WHOLE.expires,
    )
    assert other.to_json() == WHOLE.to_json()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"b.txt": A, "a/c.txt": A}, "'a/c.txt' has other bytes than those signed"),
        ({"b.txt": A}, "'a/c.txt' was signed and is missing"),
        ({"b.txt": A, "a/c.txt": B, "z": A}, "'z' was not signed"),
        ({"b.txt": A, "a/d.txt": B}, "'a/c.txt' was signed and is missing"),
    ],
)
def test_difference_names_the_file(files: dict[str, str], said: str) -> None:
    assert WHOLE.difference_to(files) == said


def changed(change: Any) -> bytes:
    value = json.loads(WHOLE.to_json())
    change(value)
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.update(_type="https://in-toto.io/Statement/v0.1"),
        lambda v: v.update(predicateType="https://slsa.dev/provenance/v1"),
        lambda v: v["subject"].append(v["subject"][0]),
        lambda v: v["subject"].clear(),
        lambda v: v["predicate"]["resources"].pop(),
        lambda v: v["predicate"]["resources"].reverse(),
        lambda v: v["predicate"]["resources"].append(v["predicate"]["resources"][0]),
        lambda v: v["predicate"]["resources"][0].update(algorithm="md5"),
        lambda v: v["predicate"]["resources"][0].update(digest="aa"),
        lambda v: v["predicate"]["serialization"].update(method="shards"),
        lambda v: v["predicate"]["serialization"].update(hash_type="blake3"),
        lambda v: v["predicate"][OUR_KEY].update(manifest="latest"),
        lambda v: v["predicate"][OUR_KEY].update(manifest=7),
        lambda v: v["predicate"][OUR_KEY].update(expires="soon"),
        lambda v: v["predicate"].update({OUR_KEY: []}),
        lambda v: v.pop("predicate"),
    ],
)
def test_statement_of_another_form_is_refused(change: Any) -> None:
    with pytest.raises(RefusedError):
        read_statement(changed(change))


def test_properties_of_others_are_ignored() -> None:
    assert read_statement(changed(lambda v: v["predicate"].update(more=1))) == WHOLE


@given(st.binary(max_size=60))
def test_bytes_that_are_no_statement_are_refused(data: bytes) -> None:
    with pytest.raises(RefusedError):
        read_statement(data)
    with pytest.raises(RefusedError):
        open_envelope(data)


ODD: tuple[Any, ...] = (None, True, 7, 1.5, "x", "\x1b[31m\ud800", [], {}, [[]], {"a": None})


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path to every value inside of one."""
    if not isinstance(value, dict | list):
        return [at]
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    return [at, *(place for key, one in inner for place in places(one, (*at, key)))]


def replaced(value: Any, place: tuple[Any, ...], by: Any) -> bytes:
    if not place:
        return json.dumps(by).encode()
    copy = json.loads(json.dumps(value))
    spot = copy
    for key in place[:-1]:
        spot = spot[key]
    spot[place[-1]] = by
    return json.dumps(copy).encode()


def test_values_of_other_types_are_refused_and_nothing_worse(release: Any) -> None:
    """Each value of a statement and of an envelope, in turn, by each odd one."""
    sealed = json.loads(seal(WHOLE.to_json(), release.private))
    tried, said = 0, set()
    for reader, value in (
        (read_statement, json.loads(WHOLE.to_json())),
        (open_envelope, sealed),
    ):
        for place in places(value):
            for odd in ODD:
                tried += 1
                try:
                    reader(replaced(value, place, odd))  # type: ignore[operator]
                except RefusedError as error:
                    said.add(error.message)
    assert tried > 300
    assert said
    assert all(message.isprintable() for message in said)


def test_envelope_covers_the_type_and_every_byte_of_the_payload(release: Any) -> None:
    envelope = open_envelope(seal(b"payload", release.private))
    assert envelope.is_signed_by(release.public)
    assert (envelope.payload, envelope.payload_type) == (b"payload", PAYLOAD_TYPE)
    assert envelope.key_id == release.public.id

    value = json.loads(seal(b"payload", release.private))
    value["dsseEnvelope"]["payloadType"] = "text/plain"
    assert not open_envelope(json.dumps(value).encode()).is_signed_by(release.public)
    value = json.loads(seal(b"payload", release.private))
    value["dsseEnvelope"]["payload"] = "cGF5bG9hZA=A"  # stray letters, no base64
    with pytest.raises(RefusedError):
        open_envelope(json.dumps(value).encode())


def test_signature_that_the_openssf_tool_wrote_is_read() -> None:
    """Made by model-signing 1.1.1 over a folder of three files, with its defaults."""
    envelope = open_envelope((DATA / "model-signing-1.1.1.sig").read_bytes())
    assert envelope.is_signed_by(load_public_key(DATA / "model-signing-1.1.1.pub"))
    statement = read_statement(envelope.payload)
    assert statement.name == "bundle"
    assert (statement.manifest, statement.expires) == (None, None)
    files = {
        "bundle.json": "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356",
        "code/service.py": "9e26bf369911c45c243c684147b23fc9e1dcfcf257d299a1c632016a6fcd33f4",
        "models/m/w.onnx": "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c",
    }
    assert statement.difference_to(files) is None


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.2"}, "of the form"),
        ({"verificationMaterial": {"certificate": {}}}, "a certificate"),
        ({"dsseEnvelope": {}}, "no Sigstore bundle"),
    ],
)
def test_bundles_of_other_kinds_say_what_they_are(
    release: Any, value: dict[str, Any], why: str
) -> None:
    data = {**json.loads(seal(b"x", release.private)), **value}
    with pytest.raises(RefusedError, match=why):
        open_envelope(json.dumps(data).encode())
