"""Everything that would run a bundle in this machine's Python asks the policy first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import modelpack
from modelpack import paths
from modelpack.cli.main import main
from modelpack.cli.servers import _order
from modelpack.config.settings import DeploySettings
from modelpack.deploy.bundles import find_bundle
from modelpack.deploy.rollout import spec_for
from modelpack.errors import UntrustedError
from modelpack.store import Entry, Store
from modelpack.trust import sign

MakeBundle = Callable[..., Entry]
CODE = {"service.py": b"raise SystemExit('it ran')\n"}


@pytest.fixture(autouse=True)
def _policy(write_policy: Callable[[str], Path], pairs: dict[str, Any]) -> None:
    file = pairs["release"].public_file
    write_policy(
        f"keys:\n  release: {{file: {file}}}\n"
        'rules:\n  - {names: ["*"], require_signature: [serve, pull, deploy]}\n'
    )


def test_load_refuses_before_anything_is_unpacked(make_bundle: MakeBundle) -> None:
    entry = make_bundle(files=CODE)
    with pytest.raises(UntrustedError):
        modelpack.load("digits:1")
    home = paths.cache_dir() / "bundles" / entry.digest.removeprefix("sha256:")
    assert not home.exists()


def test_swap_refuses_before_the_server_is_asked(make_bundle: MakeBundle) -> None:
    make_bundle()
    with pytest.raises(UntrustedError):
        _order("digits:1", None)  # type: ignore[arg-type]


def test_deployment_is_refused_whenever_its_bundle_is_used(
    store: Store,
    make_bundle: MakeBundle,
    write_policy: Callable[[str], Path],
    pairs: dict[str, Any],
) -> None:
    """Also when it was planned while the policy still allowed it."""
    entry = make_bundle()
    spec = spec_for(entry, DeploySettings(target="local"))
    with pytest.raises(UntrustedError):
        find_bundle(store, spec)
    sign(store, entry, pairs["release"].private)
    assert find_bundle(store, spec).digest == entry.digest


def test_pull_that_is_refused_leaves_nothing(
    store: Store, make_bundle: MakeBundle, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    entry = make_bundle()
    assert main(["push", "digits:1", f"file://{tmp_path}/remote"]) == 0
    store.delete(entry)
    assert main(["gc"]) == 0
    assert main(["pull", f"file://{tmp_path}/remote#digits:1"]) == 4
    assert "error[untrusted]: no signature of 'digits:1' counts" in capfd.readouterr().err
    assert store.list() == []


def test_signature_comes_along_and_lets_the_pull_through(
    store: Store, make_bundle: MakeBundle, tmp_path: Path, pairs: dict[str, Any]
) -> None:
    entry = make_bundle()
    sign(store, entry, pairs["release"].private)
    assert main(["push", "digits:1", f"file://{tmp_path}/remote"]) == 0
    store.delete(entry)
    assert main(["gc"]) == 0
    assert main(["pull", f"file://{tmp_path}/remote#digits:1"]) == 0
    assert [one.digest for one in store.list()] == [entry.digest]


def test_inspect_of_a_model_believes_the_adapter_and_shows_who_signed(
    store: Store, make_model: Any, pairs: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    sign(store, make_model("words", "pickled", carries_code=False), pairs["release"].private)
    assert main(["models", "inspect", "words"]) == 0
    lines = dict(line.split("  ", 1) for line in capfd.readouterr().out.splitlines())
    assert lines["carries code"].startswith("yes: loading it runs code")
    assert lines["signatures"].strip() == "valid, by 'release'"
