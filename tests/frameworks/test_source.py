from pathlib import Path

import pytest

from modelpack.frameworks.source import Source

CODE = """
import modelpack

@modelpack.service
class Twice:
    @modelpack.api
    def twice(self, n: int) -> int:
        return 2 * n
"""


@pytest.mark.parametrize("target", ["service:Twice", ""])
def test_a_project_opens_by_its_import_string_or_by_its_only_service(
    tmp_path: Path, target: str
) -> None:
    (tmp_path / "service.py").write_text(CODE)

    spec = Source("code", target, str(tmp_path)).open()

    assert spec.name == "twice"


def test_text_brings_the_same_source_back() -> None:
    source = Source("bundle", "", "/somewhere/with spaces/and-ümlaut")

    assert Source.from_text(source.to_text()) == source


@pytest.mark.parametrize("text", ["[]", '{"kind": "url"}', "nonsense"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Source.from_text(text)
