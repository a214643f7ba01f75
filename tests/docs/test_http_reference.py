"""The reference of HTTP lists every code, metric, event and path that the server has."""

import re
from pathlib import Path

from modelpack.sdk.service import RESERVED_ROUTES
from modelpack.server.observe.metrics import FAMILIES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "http.md").read_text()
SERVER = "\n".join(path.read_text() for path in (ROOT / "modelpack" / "server").rglob("*.py"))


def column(part: str, number: int) -> set[str]:
    """Return the words in code marks of one column of a part's table."""
    text = PAGE.partition(f"## {part}\n")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| ")]
    return {word for row in rows[2:] for word in re.findall(r"`([^`]+)`", row[number])}


def test_every_problem_of_the_server_is_listed() -> None:
    made = set(re.findall(r'Problem\(\s*\d{3},\s*"([a-z-]+)"', SERVER))
    of_input = set(re.findall(r'\(4\d\d, "([a-z-]+)"', SERVER))

    assert len(made) > 10
    assert column("Problems", 2) == made | of_input


def test_every_metric_is_listed() -> None:
    names = {family.name for family in FAMILIES if family.name.startswith("modelpack_")}

    assert column("Metrics", 1) == names


def test_every_event_is_listed() -> None:
    named = set(re.findall(r'\bevent\(\s*"([a-z-]+)"', SERVER))

    assert named <= column("Logs", 1)


def test_every_path_that_the_server_keeps_is_listed() -> None:
    assert column("Paths", 1) - {"/<api>"} == RESERVED_ROUTES
