"""What the tests of every service share: a home of their own, and nobody's Google account."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _own_surroundings(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Give each test a home of its own, and nothing of this machine's Google configuration."""
    monkeypatch.setenv("MODELPACK_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("CLOUDSDK_CONFIG", "/nonexistent")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    for name in ("PROJECT", "REGION"):
        monkeypatch.delenv(f"GOOGLE_CLOUD_{name}", raising=False)
    for name in ("CORE_PROJECT", "RUN_REGION", "COMPUTE_REGION"):
        monkeypatch.delenv(f"CLOUDSDK_{name}", raising=False)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
