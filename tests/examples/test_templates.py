"""An example is what ``modelpack init`` makes, so that neither can drift from the other."""

import re
from pathlib import Path

import pytest

from modelpack.cli.scaffold import make_project, template_names

EXAMPLES = Path(__file__).parents[2] / "examples"
RENDERED = {
    "onnx": ("digits-onnx", "digits"),
    "sklearn": ("iris-sklearn", "iris"),
    "function": ("python-function", "words"),
}


def test_every_template_has_its_example() -> None:
    assert set(template_names()) == set(RENDERED)
    folders = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    assert {name for name in folders if not name.startswith(".")} == {
        e for e, _ in RENDERED.values()
    }


@pytest.mark.parametrize("template", RENDERED)
def test_example_is_the_template_filled_in(template: str, tmp_path: Path) -> None:
    example, name = RENDERED[template]
    files = make_project(tmp_path / name, template)

    for file in files:
        if (EXAMPLES / example / file).read_bytes() != (tmp_path / name / file).read_bytes():
            pytest.fail(f"examples/{example}/{file} differs from templates/init/{template}/{file}")
    assert set(files) == {
        path.relative_to(EXAMPLES / example).as_posix()
        for path in (EXAMPLES / example).rglob("*")
        if path.is_file() and not is_made(path)
    }


def is_made(path: Path) -> bool:
    """Say whether training, building or Python made the file."""
    made = (
        path.name in ("example.json", "requirements.lock") and path.parent.name != "python-function"
    )
    return made or "__pycache__" in path.parts


AWKWARD = {
    "for YAML": ["123", "1e5", "true", "null", "1.10"],
    "for Python": ["true", "class", "1a", "my-digits.v2"],
    # Names that the templates use themselves.
    "for the templates": ["counter", "keyword", "tensor", "reading", "images", "flowers", "range"],
}


@pytest.mark.parametrize("template", RENDERED)
@pytest.mark.parametrize("name", sorted({name for names in AWKWARD.values() for name in names}))
def test_any_name_gives_a_project_that_works(template: str, name: str, tmp_path: Path) -> None:
    from modelpack.config.load import load_project
    from modelpack.sdk.loading import load_import_string

    make_project(tmp_path / name, template)
    project = load_project(tmp_path / name)
    assert project.service is not None
    spec = load_import_string(project.service, tmp_path / name)

    assert project.name == name
    source = (tmp_path / name / "service.py").read_text()
    assert re.findall(rf"\b{spec.cls.__name__}\b", source) == [spec.cls.__name__]
    if template == "function":
        words = spec.create().keywords("salt water, salt")
        assert [(one.word, one.count) for one in words] == [("salt", 2), ("water", 1)]
    else:
        assert [str(model.tag) for model in spec.models.values()] == [f"{name}-clf:latest"]
        assert "batch" in spec.apis[0].to_json()
