"""Things are kept where the environment says, else where the XDG specification says."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelpack import paths


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MODELPACK_HOME", "MODELPACK_CACHE", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_the_default_is_below_home(tmp_path: Path) -> None:
    assert paths.store_dir() == tmp_path / ".local/share/modelpack/store"
    assert paths.cache_dir() == tmp_path / ".cache/modelpack"


def test_modelpack_home_wins_over_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert paths.home_dir() == Path("/data/modelpack")
    monkeypatch.setenv("MODELPACK_HOME", str(tmp_path / "mine"))
    assert paths.deployments_dir() == tmp_path / "mine/deployments"
    assert paths.run_dir() == tmp_path / "mine/run"


def test_a_relative_xdg_folder_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert paths.cache_dir() == tmp_path / ".cache/modelpack"


def test_templates_are_found_in_the_checkout() -> None:
    assert (paths.templates_dir() / "init").is_dir()
