"""``modelpack verify``: bytes first, then signatures; the status says whether both hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack import models
from modelpack.store import Entry, Store
from modelpack.trust import new_key

Cli = Callable[..., Any]


@pytest.fixture
def key(tmp_path: Path) -> str:
    """The private key in the folder of the test; the public one is beside it, and another pair."""
    new_key(tmp_path / "a.pem", None)
    new_key(tmp_path / "b.pem", None)
    return "a.pem"


def rot(entry: Entry) -> None:
    """Change one byte of the code of a bundle."""
    blob = Store().root / "blobs" / "sha256" / entry.layers[-1].digest.removeprefix("sha256:")
    blob.chmod(0o644)
    data = bytearray(blob.read_bytes())
    data[data.index(b"hello ")] ^= 1
    blob.write_bytes(data)


def test_whole_bundle_without_a_signature_is_whole(inside: Cli, bundle: Entry) -> None:
    done = inside("verify", "hello")
    assert done.status == 0
    lines = dict(line.split(maxsplit=1) for line in done.out.splitlines())
    assert (lines["tag"], lines["digest"], lines["signatures"]) == (
        "hello:1",
        bundle.digest,
        "none",
    )
    assert lines["bytes"].endswith("all as they were stored")


def test_signature_is_checked_with_the_key_that_is_given(
    inside: Cli, bundle: Entry, key: str
) -> None:
    assert inside("verify", "hello", "--key", "a.pub").status == 4
    inside("sign", "hello", "--key", key)
    done = inside("verify", "hello", "--key", "a.pub", "-o", "json")
    assert done.status == 0
    value = json.loads(done.out)
    assert [one["state"] for one in value["signatures"]] == ["valid"]
    assert (value["digest"], value["problem"]) == (bundle.digest, None)

    done = inside("verify", "hello", "--key", "b.pub")
    assert done.status == 4
    assert "error[untrusted]: no signature of 'hello:1' holds: none is by 'b.pub'" in done.err
    assert inside("verify", "hello", "--key", "b.pub", "--key", "a.pub").status == 0


def test_rotten_byte_is_found_before_any_signature(inside: Cli, bundle: Entry, key: str) -> None:
    inside("sign", "hello", "--key", key)
    rot(bundle)
    done = inside("verify", "hello", "--key", "a.pub")
    assert (done.status, done.out) == (4, "")
    assert "error[digest-mismatch]" in done.err
    assert "service.py" in done.err


def test_all_goes_on_behind_what_is_damaged(
    inside: Cli, bundle: Entry, key: str, tmp_path: Path
) -> None:
    models.save("words", {"a": 1}, version="1")
    inside("sign", "models/words", "--key", key)
    inside("tag", "hello:1", "stable")
    rot(bundle)
    done = inside("verify", "--all")
    assert done.status == 4
    rows = [line.split(maxsplit=2) for line in done.out.splitlines()[1:]]
    assert sorted(rows) == [
        ["hello:1", "damaged", "-"], ["models/words:1", "whole", "1 unknown key"],
    ]  # fmt: skip
    assert "error[refused]: 1 of 2 are not what they must be: hello:1" in done.err

    values = json.loads(inside("verify", "--all", "-o", "json").out)
    assert {one["tag"]: one["problem"] is None for one in values} == {
        "hello:1": False,
        "words:1": True,
    }


def test_policy_decides_when_no_key_is_given(
    inside: Cli, bundle: Entry, key: str, tmp_path: Path
) -> None:
    (Store().root.parent / "trust.yaml").write_text(
        f"keys:\n  ours: {{file: {tmp_path / 'a.pub'}}}\n"
        'rules:\n  - {names: ["*"], require_signature: [serve, deploy]}\n'
    )
    done = inside("verify", "hello")
    assert done.status == 4
    assert "required    to serve, deploy" in done.out
    assert "counts: it has none" in done.err
    inside("sign", "hello", "--key", key)
    done = inside("verify", "hello")
    assert (done.status, "valid, by 'ours'" in done.out) == (0, True)
    assert "valid: ours" in inside("verify", "--all").out


def test_commands_that_use_a_bundle_ask_the_policy(cli: Cli, bundle: Entry, tmp_path: Path) -> None:
    (Store().root.parent / "trust.yaml").write_text(
        'rules:\n  - {names: ["*"], require_signature: [serve, deploy, containerize]}\n'
    )
    for words, status in (
        (("serve", "hello:1", "--port", "0"), 4),
        (("containerize", "hello:1", "--dockerfile", "image"), 4),
        (("deploy", "hello:1", "--target", "local", "--plan"), 4),
        (("bench", "hello:1", "--duration", "1"), 1),
    ):
        done = cli(*words)
        assert done.status == status, done.err
        assert "no signature of 'hello:1' counts: it has none" in done.err
    assert not (tmp_path / "image").exists()


def test_files_and_signatures_are_unpacked_for_other_tools(
    inside: Cli, bundle: Entry, key: str, tmp_path: Path
) -> None:
    inside("sign", "hello", "--key", key, "--save", "hello.sig")
    done = inside("verify", "hello", "--key", "a.pub", "--unpack", "out")
    assert done.status == 0
    assert (tmp_path / "out/bundle/code/service.py").is_file()
    saved = (tmp_path / "hello.sig").read_bytes()
    assert (tmp_path / "out/signature-1.json").read_bytes() == saved
    assert inside("verify", "hello", "--key", "b.pub", "--unpack", "other").status == 4
    assert not (tmp_path / "other").exists()


def test_words_that_do_not_fit_are_refused(inside: Cli, bundle: Entry, key: str) -> None:
    for words in ((), ("hello", "--all"), ("--all", "--unpack", "x"), ("hello", "--key", key)):
        inside("verify", *words).failed_well(2, "usage")


def test_what_is_not_there_is_said(inside: Cli) -> None:
    inside("verify", "other").failed_well(3, "bundle-not-found")
    inside("verify", "models/other").failed_well(3, "model-not-found")
    done = inside("verify", "--all")
    assert (done.status, done.out) == (0, "")
    assert "nothing is stored yet" in done.err
