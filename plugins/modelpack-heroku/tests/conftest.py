"""What all tests here share: a home of their own, a key that is none of this machine's, a small Heroku."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .fake_heroku import KEY, FakeHeroku


@pytest.fixture(autouse=True)
def _own_surroundings(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Give each test a home of its own, and nothing of this machine's Heroku."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("MODELPACK_HOME", str(home))
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    monkeypatch.setenv("HEROKU_API_KEY", KEY)


@pytest.fixture
def heroku() -> Iterator[FakeHeroku]:
    fake = FakeHeroku()
    yield fake
    fake.close()
