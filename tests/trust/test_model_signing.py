"""The OpenSSF tool and we believe each other's signatures, over the unpacked files."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack.store import Entry, Store
from modelpack.trust import attach_signature, sign, signature_state

pytestmark = [pytest.mark.network, pytest.mark.slow]

MakeBundle = Callable[..., Entry]
Tool = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def model_signing(tmp_path_factory: pytest.TempPathFactory) -> Tool:
    """The tool itself, in an environment of its own."""
    folder = tmp_path_factory.mktemp("model-signing") / "env"
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    python = f"--python={folder / 'bin/python'}"
    packages = ["model-signing>=1.1,<2", "pyopenssl"]
    subprocess.run([uv, "pip", "install", "--quiet", python, *packages], check=True)

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        program = folder / "bin" / "model_signing"
        return subprocess.run(
            [program, *map(str, words)], capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture
def unpacked(store: Store, make_bundle: MakeBundle, make_model: Any, tmp_path: Path) -> Any:
    """A bundle with names that are no plain ones, and its files."""
    files = {
        "service.py": b"class Digits: ...\n",
        "a/b/c.txt": b"",
        "a.b": b"sorts between a and a/",
        ".gitignore": b"*.csv\n",
        "sp ace/ünï.txt": "ü".encode(),
    }
    entry = make_bundle(files=files, models=(make_model(),))
    return entry, store.unpack(entry, tmp_path / "out")


def test_it_verifies_what_we_sign(
    store: Store, unpacked: Any, pairs: Any, model_signing: Tool, tmp_path: Path
) -> None:
    entry, folder = unpacked
    release, lab = pairs["release"], pairs["lab"]
    signature = tmp_path / "digits.sig"
    signature.write_bytes(store.read_referrer(sign(store, entry, release.private)))
    words = ("verify", "key", folder, "--signature", signature, "--public_key")

    done = model_signing(*words, release.public_file)
    assert (done.returncode, done.stdout.strip()) == (0, "Verification succeeded"), done.stderr
    assert model_signing(*words, lab.public_file).returncode != 0
    (folder / "code" / "more.txt").write_text("more")
    assert "more.txt" in model_signing(*words, release.public_file).stderr
    (folder / "code" / "more.txt").unlink()
    (folder / "code" / "service.py").write_text("changed")
    assert "service.py" in model_signing(*words, release.public_file).stderr


def test_we_verify_what_it_signs(
    store: Store, unpacked: Any, pairs: Any, model_signing: Tool, tmp_path: Path
) -> None:
    entry, folder = unpacked
    release, lab = pairs["release"], pairs["lab"]
    signature = tmp_path / "digits.sig"
    key = ("--private_key", release.private_file, "--signature", signature)
    done = model_signing("sign", "key", folder, *key)
    assert done.returncode == 0, done.stderr

    attach_signature(store, entry, signature)
    (one,) = signature_state(store, entry, [release.public], is_deep=True)
    assert (one.is_valid, one.is_whole) == (True, False), one.describe()
    assert not signature_state(store, entry, [lab.public])[0].is_valid


def test_what_it_left_out_is_missed(
    store: Store, unpacked: Any, release: Any, model_signing: Tool, tmp_path: Path
) -> None:
    """A signer may ignore paths; a bundle with files that nobody signed is not believed."""
    entry, folder = unpacked
    signature = tmp_path / "digits.sig"
    key = ("--private_key", release.private_file, "--signature", signature)
    ignored = ("--ignore-paths", folder / "code" / "service.py")
    assert model_signing("sign", "key", folder, *key, *ignored).returncode == 0

    attach_signature(store, entry, signature)
    (one,) = signature_state(store, entry, [release.public])
    assert one.describe() == "invalid, by 'release': 'code/service.py' was not signed"


def test_folder_with_one_file_less_is_another_model(
    store: Store, unpacked: Any, release: Any, model_signing: Tool, tmp_path: Path
) -> None:
    entry, folder = unpacked
    shutil.rmtree(folder / "code" / "a")
    signature = tmp_path / "digits.sig"
    key = ("--private_key", release.private_file, "--signature", signature)
    assert model_signing("sign", "key", folder, *key).returncode == 0
    attach_signature(store, entry, signature)
    (one,) = signature_state(store, entry, [release.public])
    assert one.why == "'code/a/b/c.txt' was not signed"
