"""A client goes on when the service behind it becomes another one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from modelpack import AsyncClient, Client
from modelpack.client.errors import CallUnknownError
from tests.client.conftest import Asker, serving

SERVICE = """
import modelpack


@modelpack.service
class Teller:
    @modelpack.api
    def tell(self, {name}: int) -> {kind}:
        return {answer}
{more}
"""
OLD = SERVICE.format(name="n", kind="int", answer="n + 1", more="")
NEW = SERVICE.format(
    name="number",
    kind='modelpack.Tensor["int64", "n"]',
    answer="__import__('numpy').arange(number)",
    more="\n    @modelpack.api\n    def also(self) -> str:\n        return 'new'\n",
)


def swap(folder: Path) -> None:
    program = Path(sys.executable).with_name("modelpack")
    subprocess.run(
        [program, "servers", "swap", "teller"], cwd=folder, check=True, capture_output=True
    )


def test_another_version_is_noticed_and_the_call_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other parameters, another answer, another api: nothing has to be opened again."""
    monkeypatch.setattr("modelpack.client.calls._STALE_S", 0.0)
    (tmp_path / "service.py").write_text(OLD)
    with serving(tmp_path) as url, asyncio.Runner() as runner:
        clients = [Asker(kind(url), runner) for kind in (Client, AsyncClient)]
        for client in clients:
            assert client.call("tell", {"n": 3}).value == 4
            with pytest.raises(CallUnknownError):
                client.call("also")

        (tmp_path / "service.py").write_text(NEW)
        swap(tmp_path)

        for client in clients:
            assert client.call("tell", {"number": 3}).value.tolist() == [0, 1, 2]
            assert client.call("also").value == "new"
            with pytest.raises(
                TypeError, match=r"tell\(number: int\) -> int64\[n\]: there is no 'n'"
            ):
                client.call("tell", {"n": 3})
            client.close()
