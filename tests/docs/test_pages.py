"""What the pages say is true: their code runs, their links lead somewhere.

```python        run, in the order of the page, in one module; ``>>>`` lines by doctest
```python notest shown only (it needs what a page cannot have, such as a built bundle)
```console       every ``$ modelpack …`` line is a command that exists, with those options
"""

from __future__ import annotations

import doctest
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for path in (
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("examples/*/README.md"),
    )
)
FENCE = re.compile(r"^```(\w+)?([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


WITH_PYTHON = [page for page in PAGES if "\n```python\n" in page.read_text()]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name_of)
def test_python_of_the_page_runs(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    blocks_of: Callable[..., list[Any]],
) -> None:
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    monkeypatch.chdir(tmp_path)

    for block in blocks_of(page, "python", ""):
        if block.text.startswith(">>>"):
            example = doctest.DocTestParser().get_doctest(
                block.text, vars(module), "page", str(page), block.line
            )
            said: list[str] = []
            results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(
                example, out=said.append, clear_globs=False
            )
            vars(module).update(example.globs)
            assert results.failed == 0, "".join(said)
        else:
            # As many newlines as the page has lines before it, so that errors name its own line.
            source = "\n" * block.line + block.text
            exec(compile(source, str(page), "exec"), vars(module))


def test_pages_with_python_were_found() -> None:
    assert {"README.md", "docs/how-to/write-a-service.md"} <= {name_of(p) for p in WITH_PYTHON}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_of_the_page_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text())
    broken = []
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in anchors_of(there)):
            broken.append(target)

    assert broken == []


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), flags=re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in kept}


def test_every_page_can_be_reached_from_the_index() -> None:
    """A page that nothing links to is not read."""
    index = ROOT / "docs" / "README.md"
    seen: set[Path] = set()
    wanted = [index]
    while wanted:
        page = wanted.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        for target in LINK.findall(FENCE.sub("", page.read_text())):
            path = target.partition("#")[0]
            if path and not re.match(r"[a-z]+:", path):
                wanted.append((page.parent / path).resolve())

    assert {name_of(page) for page in ROOT.glob("docs/**/*.md")} <= {
        name_of(page) for page in seen if page.is_relative_to(ROOT)
    }
