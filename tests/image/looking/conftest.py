"""The functions of ``tests/image/made.py``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def made() -> Any:
    spec = importlib.util.spec_from_file_location("made", Path(__file__).parents[1] / "made.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["made"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
