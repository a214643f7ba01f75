"""The page on calling a service: its clients talk to its service, as a reader would have it."""

from __future__ import annotations

import re
import shlex
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from modelpack.cli.main import main
from tests.client.conftest import serving

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "call-a-service.md"
BLOCKS = re.compile(r"^```(python|python notest|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(kind: str) -> list[str]:
    return [text for found, text in BLOCKS.findall(PAGE.read_text()) if found == kind]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The service of the page, served."""
    folder = tmp_path_factory.mktemp("page")
    (service,) = blocks("python")
    (folder / "service.py").write_text(service)
    with serving(folder) as url:
        yield url


def test_the_clients_of_the_page_get_answers_from_its_service(
    page: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    monkeypatch.chdir(tmp_path)
    Path("photo.png").write_bytes(b"x" * 123)
    clients = [code for code in blocks("python notest") if "grpc://" not in code]
    assert len(clients) == 5

    for code in clients:
        assert "http://127.0.0.1:3000" in code
        source = code.replace("http://127.0.0.1:3000", page)
        exec(compile(source, str(PAGE), "exec"), vars(module))

    assert module.sums.tolist() == [4.0, 4.0]
    assert module.doubled.tolist() == [8.0, 8.0]
    assert module.pieces == ["row 0", "row 1"]
    assert (module.length, module.kilobytes) == (123, 4)
    assert module.totals == [8.0] * 8
    assert "bad-input 400 ['/x']" in capsys.readouterr().out


def test_the_commands_of_the_page_get_answers_from_its_service(
    page: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text("1,2,3,4\n")
    Path("photo.png").write_bytes(b"x" * 123)
    np.save("rows.npy", np.ones((2, 4), np.float32))
    (text,) = blocks("console")
    said = []

    for line in text.splitlines():
        words = shlex.split(line.partition(" > ")[0])[2:]
        words = [word for word in words if word != "http://127.0.0.1:3000"]
        assert main(["call", page, *words[1:]]) == 0, line
        said.append(capfdbinary.readouterr().out)

    assert said[0] == b"10.0\n"
    assert float(said[1]) == pytest.approx(20.4)
    assert said[2] == b"123\n"
    assert said[3].startswith(b"\x93NUMPY")
