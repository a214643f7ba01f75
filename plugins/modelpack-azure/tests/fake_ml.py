"""The online endpoints of the small Azure; its rules stand in ``fake_azure``."""

from __future__ import annotations

from typing import Any


class Endpoints:
    """Endpoints by name, with their deployments."""

    def __init__(self, azure: Any) -> None:
        self.azure = azure

    def names(self) -> list[str]:
        return []

    def takes(self, path: str) -> bool:
        return False

    def answer(self, method: str, path: str, body: Any) -> tuple[int, dict[str, str], Any]:
        raise NotImplementedError

    def served(self, method: str, host: str, parts: Any, headers: Any, data: bytes) -> Any:
        return None
