"""An import string that does not resolve says which of three things is wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelpack.errors import AttributeMissingError, ModuleMissingError, UsageError, UserCodeError
from modelpack.sdk.loading import find_service, load_import_string

SERVICE = """
import modelpack

@modelpack.service
class {name}:
    @modelpack.api
    def f(self) -> int:
        return {value}
"""


@pytest.fixture(autouse=True)
def _own_imports() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def project(folder: Path, text: str, module: str = "service") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{module}.py").write_text(text)
    return folder


def test_a_class_is_found_by_name(tmp_path: Path) -> None:
    root = project(tmp_path, SERVICE.format(name="One", value=1), "my_module")
    assert load_import_string("my_module:One", root).name == "one"
    assert load_import_string("my_module", root).name == "one"


def test_the_one_service_of_a_folder_is_found(tmp_path: Path) -> None:
    root = project(tmp_path, SERVICE.format(name="One", value=1))
    assert find_service(root).cls.__name__ == "One"


def test_two_projects_do_not_mix(tmp_path: Path) -> None:
    first = project(tmp_path / "a", SERVICE.format(name="One", value=1))
    second = project(tmp_path / "b", SERVICE.format(name="One", value=2))
    assert find_service(first).create().f() == 1
    assert find_service(second).create().f() == 2
    assert find_service(first).create().f() == 1


def test_no_such_module_is_suggested(tmp_path: Path) -> None:
    root = project(tmp_path, SERVICE.format(name="One", value=1))
    with pytest.raises(ModuleMissingError) as caught:
        load_import_string("servise:One", root)
    assert caught.value.hint == "did you mean 'service'?"
    assert caught.value.exit_code == 2


def test_no_such_attribute_is_suggested(tmp_path: Path) -> None:
    root = project(tmp_path, SERVICE.format(name="Digits", value=1))
    with pytest.raises(AttributeMissingError) as caught:
        load_import_string("service:Digit", root)
    assert caught.value.hint == "did you mean 'Digits'?"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise RuntimeError('no disk')", "no disk"),
        ("import no_such_library", "no_such_library"),
        ("def broken(:", "line 1"),
        ("import sys; sys.exit(3)", "SystemExit"),
    ],
)
def test_a_module_that_fails_is_the_users_failure(tmp_path: Path, text: str, said: str) -> None:
    root = project(tmp_path, text)
    with pytest.raises(UserCodeError) as caught:
        load_import_string("service:One", root)
    assert said in caught.value.message
    assert caught.value.__cause__ is not None
    assert caught.value.exit_code == 1


def test_a_mistake_in_a_signature_keeps_its_own_words(tmp_path: Path) -> None:
    root = project(tmp_path, "import modelpack\n@modelpack.service\nclass One: ...\n")
    with pytest.raises(UsageError, match="has no api"):
        load_import_string("service:One", root)


@pytest.mark.parametrize("text", ["", ":", "a:", "a:b:c", "a b:c", "a:b-c", "../a:B", "a.:B"])
def test_what_is_no_import_string_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError):
        load_import_string(text, tmp_path)


def test_a_folder_without_a_service_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModuleMissingError, match=r"service\.py"):
        find_service(tmp_path)


def test_two_services_in_a_module_must_be_told_apart(tmp_path: Path) -> None:
    text = SERVICE.format(name="One", value=1) + SERVICE.format(name="Two", value=2)
    with pytest.raises(AttributeMissingError, match="'One', 'Two'"):
        find_service(project(tmp_path, text))


def test_what_is_no_service_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a service"):
        load_import_string("service:os", project(tmp_path, "import os"))
