"""The pages of platforms that are told by their variables: what they show is what comes back.

```python platform      run by doctest, with the variables that the platform sets
"""

from __future__ import annotations

import doctest
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack.manifest import BUNDLE_FILE, BundleManifest, canonical_json

PAGES = Path(__file__).parents[2] / "docs" / "reference" / "faces"
SHOWN = "http://127.0.0.1:3000"
IRIS = '''
import modelpack

NAMES = ["setosa", "versicolor", "virginica"]


@modelpack.service
class Iris:
    """Names flowers."""

    @modelpack.api(batch=True)
    def predict(self, x: modelpack.Tensor["float64", "batch", 4]) -> list[str]:
        return [NAMES[int(row[2] >= 2.5) + int(row[2] >= 4.9)] for row in x]
'''


def run(text: str, page: Path, line: int) -> None:
    said: list[str] = []
    example = doctest.DocTestParser().get_doctest(text, {}, "page", str(page), line)
    results = doctest.DocTestRunner().run(example, out=said.append)
    assert results.attempted
    assert results.failed == 0, "".join(said)


@pytest.mark.parametrize(
    ("name", "environ"),
    [
        (
            "vertex-ai",
            {
                "AIP_HTTP_PORT": "8080",
                "AIP_HEALTH_ROUTE": "/health",
                "AIP_PREDICT_ROUTE": "/predict",
            },
        ),
        ("cloud-run", {"K_SERVICE": "iris", "PORT": "8080"}),
    ],
)
def test_the_page_shows_what_the_platform_gets(  # noqa: PLR0917
    name: str,
    environ: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    serve: Callable[..., str],
    blocks_of: Callable[..., list[Any]],
) -> None:
    (tmp_path / "service.py").write_text(IRIS)
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    url = serve(cwd=tmp_path)

    (block,) = blocks_of(PAGES / f"{name}.md", "python", "platform")
    run(block.text.replace(SHOWN, url), PAGES / f"{name}.md", block.line)


def test_the_page_of_lambda_shows_what_events_get(
    tmp_path: Path, blocks_of: Callable[..., list[Any]]
) -> None:
    """In a process of its own: the handler is there as long as its process."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "service.py").write_text(IRIS)
    manifest = BundleManifest(
        service="service:Iris",
        model=None,
        python="3.11",
        files=(),
        models=(),
        lock_sha256="0" * 64,
        apis=(),
        settings={},
    )
    (tmp_path / BUNDLE_FILE).write_bytes(canonical_json(manifest.to_json()))
    (block,) = blocks_of(PAGES / "lambda.md", "python", "platform")
    (tmp_path / "page.txt").write_text(block.text)
    program = "import doctest, sys; sys.exit(doctest.testfile(sys.argv[1], False).failed)"

    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "page.txt")],
        env={**os.environ, "MODELPACK_BUNDLE": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stdout) == (0, "")
