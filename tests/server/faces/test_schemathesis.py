"""Schemathesis reads the document, sends what it allows and what it does not, and finds nothing.

No status, content type, header or body is answered that the document does not promise, and nothing
is a 5xx.  Here it is a short run over two apis and every contract; a long one:

    FUZZ_EXAMPLES=100 pytest tests/server/faces/test_schemathesis.py
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import modelpack
from modelpack.config.serving import FACES

Start = Callable[..., Any]

EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "1")
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance",
    "response_headers_conformance", "response_schema_conformance",
)  # fmt: skip

# A client that gives a request one millisecond is answered 504, which is what it asked for.
CONFIG = """
[parameters]
"header.X-Request-Timeout-Ms" = "30000"
"""


@modelpack.service
class Fuzzed:
    @modelpack.api(batch=True, example={"x": [[0.5, 1, 2]]})
    def predict(
        self, x: modelpack.Tensor["float32", "batch", 3], top: int = 1
    ) -> modelpack.Tensor["float32", "batch", 3]:
        return x

    @modelpack.api
    def mirror(self, picture: Image.Image, note: str = "") -> Image.Image:
        return picture


@modelpack.service
class Whole:
    """Every kind of parameter and answer, on the service's own routes."""

    @modelpack.api(batch=True)
    def rows(self, x: modelpack.Tensor["int64", "batch", "n"], words: list[str]) -> dict[str, Any]:
        return {"sum": x.sum(axis=1), "words": words}

    @modelpack.api
    def person(self, name: str, age: float | None = None, tags: list[str] = []) -> dict[str, Any]:  # noqa: B006
        return {"name": name, "age": age, "tags": tags}

    @modelpack.api
    def count(self, n: int = 3) -> Any:
        yield from range(max(0, min(n, 3)))

    @modelpack.api
    def size(self, data: bytes) -> int:
        return len(data)


@pytest.mark.timeout(300 if EXAMPLES == "1" else 0)
@pytest.mark.parametrize(
    ("service", "faces"), [(Fuzzed, ",".join(FACES)), (Whole, "none")], ids=["contracts", "own"]
)
def test_nothing_is_answered_that_is_not_promised(
    start: Start, tmp_path: Path, service: type, faces: str
) -> None:
    store = str(tmp_path / "tasks.db")
    running = start(service, faces=faces, tasks=faces != "none", tasks_store=store)
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    program = Path(sys.executable).with_name("schemathesis")
    done = subprocess.run(
        [
            program,
            "--no-color",
            "run",
            f"{running.url}/openapi.json",
            f"--checks={','.join(CHECKS)}",
            "--phases=examples,coverage,fuzzing",
            f"--max-examples={EXAMPLES}",
            "--seed=1",
            "--generation-database=none",
            "--continue-on-failure",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    found = done.stdout[done.stdout.find("= ERRORS") :][:8000]
    assert done.returncode == 0, found + done.stderr
    sent = re.search(r"(\d+) generated, \1 passed", done.stdout)
    assert sent is not None
    assert int(sent[1]) > 200, done.stdout
