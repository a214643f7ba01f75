"""Refuses a base that says itself that it does not fit, before anything is built on it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from modelpack.image.bases import PythonFrom
from modelpack.image.engines.following import wrong_python
from modelpack.image.plan import ImagePlan


def check_python(plan: ImagePlan, variables: Iterable[str]) -> None:
    """Refuse a base whose ``PYTHON_VERSION`` is not that of the lock; raises EngineError.

    ``variables`` are those of the base, ``NAME=VALUE``.
    """
    if plan.base.python_from is not PythonFrom.BASE or plan.program is not None:
        return  # any Python will do to start and check a program
    said = dict(pair.partition("=")[::2] for pair in variables)
    version = said.get("PYTHON_VERSION", "")
    found = re.match(r"3\.\d+", version)
    if found is not None and found[0] != plan.python:
        raise wrong_python(plan, f"it has Python {version}")
