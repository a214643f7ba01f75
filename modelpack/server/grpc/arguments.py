"""The arguments of a method from named tensors, as any contract of tensors names them.

{"x": array} ──arguments_of──► Arguments(values, rows), or InputError with every issue
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from modelpack.errors import InputError, Issue
from modelpack.sdk.api import Arguments
from modelpack.server.faces.catalog import Served

if TYPE_CHECKING:
    from modelpack.sdk.tensor import Array


def arguments_of(served: Served, tensors: Mapping[str, Array]) -> Arguments:
    """Check tensors against the signature; BYTES are arrays of Python ``bytes``.

    Raises InputError with every issue found.
    """
    issues: list[Issue] = []
    values: dict[str, Any] = {}
    given = 0
    for port in served.inputs:
        data = tensors.get(port.name)
        if data is not None:
            given += 1
            values[port.name] = port.take(data, issues)
        elif port.is_required:
            expected = f"a tensor {port.datatype} {list(port.shape)}"
            issues.append(Issue(f"/{port.name}", expected, "nothing"))
        else:
            values[port.name] = port.parameter.default
    if given < len(tensors):
        known = ", ".join(f"'{port.name}'" for port in served.inputs) or "none"
        names = {port.name for port in served.inputs}
        issues.extend(
            Issue(f"/{name}", f"only the inputs {known}", "an unknown input")
            for name in tensors
            if name not in names
        )
    if issues:
        raise refused(issues)
    return Arguments(values, served.endpoint.decodes.count_rows(values))


def refused(issues: list[Issue]) -> InputError:
    """Return the error for inputs that do not fit."""
    first = issues[0]
    more = f", and {len(issues) - 1} more" if len(issues) > 1 else ""
    text = f"{first.pointer or 'the request'}: expected {first.expected}, got {first.got}{more}"
    return InputError(text, issues=issues)


def misfit(at: str, expected: str, got: str) -> InputError:
    """Return the error for one thing that does not fit."""
    return refused([Issue(at, expected, got)])
