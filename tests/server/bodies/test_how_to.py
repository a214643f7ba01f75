"""The page on binary arrays: its client talks to its service, as a reader would have it."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "send-binary-arrays.md"
BLOCKS = re.compile(r"^```python( notest)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_clients_of_the_page_get_answers_from_its_service(
    start: Callable[..., Any], lane: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = [(bool(m[1]), m[2]) for m in BLOCKS.finditer(PAGE.read_text())]
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    (service,) = [code for is_client, code in blocks if not is_client]
    exec(compile(service, str(PAGE), "exec"), vars(module))
    server = start(module.Digits, lane)
    clients = [code for is_client, code in blocks if is_client]
    assert len(clients) == 2

    for code in clients:
        assert "http://127.0.0.1:3000" in code
        source = code.replace("http://127.0.0.1:3000", server.url)
        exec(compile(source, str(PAGE), "exec"), vars(module))

        assert module.scores.dtype == np.dtype("float32")
        assert np.array_equal(module.scores, module.images[:, :10])
        del module.scores
