"""The page about tasks: its client runs against a service, its check of signatures is right."""

from __future__ import annotations

import re
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import modelpack
from modelpack.server.tasks.webhooks import signed

PAGE = (Path(__file__).parents[3] / "docs" / "how-to" / "tasks.md").read_text()


@modelpack.service
class Iris:
    @modelpack.api(batch=True)
    def predict(
        self, x: modelpack.Tensor["float64", "batch", 4]
    ) -> modelpack.Tensor["int64", "batch"]:
        return (x.sum(axis=1) > 10).astype("int64")


def block(words: str) -> str:
    found = re.search(rf"^```{words}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_the_client_of_the_page_gets_its_answer(
    start: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    running = start(Iris, tasks=True, tasks_store=str(tmp_path / "t"))

    exec(block("python client").replace("http://127.0.0.1:3000", running.url), {})

    assert capsys.readouterr().out == "[1]\n"


def test_the_check_of_the_page_takes_our_signatures_and_no_others() -> None:
    page = types.ModuleType("page")
    exec(block("python"), vars(page))
    secret, other = "whsec_" + "A" * 32, "whsec_" + "B" * 32
    now = int(time.time())
    headers = signed("msg_1", b"{}", (b"\0" * 24,), timestamp=now)

    assert page.is_ours(headers, b"{}", secret)
    assert not page.is_ours(headers, b"{} ", secret)
    assert not page.is_ours(headers, b"{}", other)
    assert not page.is_ours({**headers, "webhook-timestamp": str(now - 1000)}, b"{}", secret)


@pytest.mark.parametrize("name", re.findall(r"^\| `(tasks_\w+)`", PAGE, re.MULTILINE))
def test_the_defaults_of_the_page_are_those_of_the_settings(name: str) -> None:
    from modelpack.config.serving import ServerSettings

    said = re.search(rf"`{name}` \| (\d+)", PAGE)

    assert said is not None
    assert int(said[1]) == getattr(ServerSettings(), name)
