"""Packages that load their names late offer what they say, and load nothing else."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

PACKAGES = ["modelpack.archive", "modelpack.image"]


@pytest.mark.parametrize("package", PACKAGES)
def test_each_name_that_is_offered_is_there(package: str) -> None:
    module = import_module(package)
    assert set(module._HOMES) == set(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is getattr(import_module(module._HOMES[name]), name)


@pytest.mark.parametrize("package", PACKAGES)
def test_another_name_is_refused_as_python_does(package: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nonsense'"):
        import_module(package).nonsense  # noqa: B018


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_alone_loads_no_numpy_and_no_engine(package: str) -> None:
    code = f"import sys, {package}; print([n for n in ('numpy', 'docker') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
