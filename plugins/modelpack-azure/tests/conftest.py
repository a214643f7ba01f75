"""What all tests here share: a home of their own, nothing of this machine's Azure, a small Azure."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .fake_azure import SUBSCRIPTION, FakeAzure


@pytest.fixture(autouse=True)
def _own_surroundings(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Give each test a home of its own, and nothing of this machine's Azure configuration."""
    monkeypatch.setenv("MODELPACK_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("AZURE_CONFIG_DIR", str(tmp_path_factory.mktemp("azure")))
    for variable in ("AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", SUBSCRIPTION)


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    fake = FakeAzure()
    yield fake
    fake.close()
