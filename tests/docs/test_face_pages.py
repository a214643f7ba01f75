"""The clients that the pages of contracts show get what the pages say.

```python client      run by doctest, against the service ``iris`` where the page has port 3000
"""

from __future__ import annotations

import doctest
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SHOWN = "http://127.0.0.1:3000"

IRIS = """
import numpy as np
import modelpack

Flowers = modelpack.Tensor["float64", "batch", 4]
NAMES = ["setosa", "versicolor", "virginica"]


@modelpack.service
class Iris:
    @modelpack.api(batch=True)
    def predict(self, x: Flowers) -> list[str]:
        return [NAMES[row.argmax()] for row in self.probabilities(x)]

    @modelpack.api(batch=True)
    def probabilities(self, x: Flowers) -> modelpack.Tensor["float64", "batch", 3]:
        length = x[:, 2]
        return np.stack([length < 2.5, (length >= 2.5) & (length < 4.9), length >= 4.9], 1) * 1.0
"""


def pages() -> list[Path]:
    found = sorted((ROOT / "docs" / "reference" / "faces").glob("*.md"))
    return [page for page in found if "\n```python client\n" in page.read_text()]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_the_client_of_the_page_gets_what_it_says(
    page: Path,
    tmp_path: Path,
    serve: Callable[..., str],
    blocks_of: Callable[..., list[Any]],
) -> None:
    (tmp_path / "service.py").write_text(IRIS)
    url = serve(cwd=tmp_path)
    names: dict[str, Any] = {}

    for block in blocks_of(page, "python", "client"):
        text = block.text.replace(SHOWN, url)
        assert text != block.text
        example = doctest.DocTestParser().get_doctest(text, names, "page", str(page), block.line)
        said: list[str] = []
        results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(
            example, out=said.append, clear_globs=False
        )
        names.update(example.globs)
        assert results.attempted
        assert results.failed == 0, "".join(said)


def test_pages_with_clients_were_found() -> None:
    wanted = {"azure-ml", "kserve", "mlflow", "sagemaker", "seldon"}
    wanted |= {"tensorflow-serving", "torchserve"}

    assert wanted <= {page.stem for page in pages()}
