"""What is sent: the bodies of requests, from the server's example or from a file.

    the example of the api                 one body
    FILE.json                              one body
    FILE.jsonl, FILE.ndjson                one body a line, sent in turns
    FILE.npy                               a tensor: its bytes, dtype and shape
    any other file, with --content-type    as it is

``rows`` repeats the rows of a body; ``binary`` sends the one tensor of a JSON body as bytes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelpack.bench.apis import Api
from modelpack.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

JSON = "application/json"
BINARY = "application/octet-stream"
STDIN = ("@-", "-")


@dataclass(frozen=True, slots=True)
class Body:
    """One body and what the head says of it."""

    data: bytes
    content_type: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """Where bodies come from, as the command line says it."""

    file: str | None = None
    """Path, or ``@-`` for standard input; None: the example."""
    content_type: str | None = None
    """None: as the file's name says."""
    binary: bool = False
    rows: int | None = None
    """Rows of each request; None: as many as there are."""


def read_bodies(given: Input, api: Api | None) -> list[Body]:
    """Return the bodies to send, in turns; empty: none, as for GET.

    Raises NotFoundError when the file is not there and UsageError when it cannot be used.
    """
    if given.file is None:
        if api is None:
            return []
        if api.example is None:
            raise UsageError(
                f"the server shows no example of '{api.name}'", hint="give --input FILE"
            )
        return [_from_json(api.example, given, api)]
    data = _read(given.file)
    kind = Path(given.file).suffix.lower()
    if given.content_type not in (None, JSON):
        return [Body(data, str(given.content_type))]
    if kind == ".npy":
        return [_tensor(_rows_of(_load_npy(data, given.file), given.rows))]
    if kind in (".jsonl", ".ndjson"):
        lines = [line for line in data.splitlines() if line.strip()]
        if not lines:
            raise UsageError(f"'{given.file}' is empty")
        return [
            _from_json(_parsed(line, f"{given.file}:{number}"), given, api)
            for number, line in enumerate(lines, 1)
        ]
    return [_from_json(_parsed(data, given.file), given, api)]


def _from_json(value: Any, given: Input, api: Api | None) -> Body:
    if given.rows is not None:
        value = _with_rows(value, given.rows)
    if not given.binary:
        return Body(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(), JSON)
    return _tensor(_only_tensor(value, api))


def _only_tensor(value: Any, api: Api | None) -> NDArray[Any]:
    """Return the array of a JSON body that has one key, with the dtype that the api takes."""
    import numpy as np

    if not isinstance(value, dict) or len(value) != 1:
        raise UsageError(
            "--binary sends one tensor, and the body has other keys", hint="leave --binary away"
        )
    ((name, raw),) = value.items()
    dtype = api.properties.get(name, {}).get("x-dtype") if api is not None else None
    if dtype is None or dtype == "str":
        raise UsageError(f"--binary: '{name}' is no tensor of numbers", hint="leave --binary away")
    try:
        return np.ascontiguousarray(np.array(raw, dtype=str(dtype)))
    except (TypeError, ValueError) as error:
        raise UsageError(f"--binary: '{name}' is no {dtype} tensor: {error}") from None


def _tensor(array: NDArray[Any]) -> Body:
    shape = ",".join(map(str, array.shape))
    headers = (("modelpack-dtype", array.dtype.name), ("modelpack-shape", shape))
    return Body(array.tobytes(), BINARY, headers)


def _load_npy(data: bytes, name: str) -> NDArray[Any]:
    import io

    import numpy as np

    try:
        array: NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise UsageError(f"'{name}' is no .npy file of numbers: {error}") from None
    # Bytes go out as machines of today have them.
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))


def _rows_of(array: NDArray[Any], rows: int | None) -> NDArray[Any]:
    import numpy as np

    if rows is None:
        return array
    if array.ndim == 0 or len(array) == 0:
        raise UsageError("--rows: the tensor has no rows to repeat")
    return np.resize(array, (rows, *array.shape[1:]))


def _with_rows(value: Any, rows: int) -> Any:
    """Return the body with the lists in it repeated or cut to this length."""
    if not isinstance(value, Mapping):
        raise UsageError("--rows: the body is no object")
    if not any(isinstance(one, list) and one for one in value.values()):
        raise UsageError("--rows: the body has no rows to repeat")
    return {
        key: [one[i % len(one)] for i in range(rows)] if isinstance(one, list) and one else one
        for key, one in value.items()
    }


def _parsed(data: bytes, where: str) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise UsageError(
            f"'{where}' is not JSON: {str(error).lower()}",
            hint="name what else it is with --content-type",
        ) from None


def _read(file: str) -> bytes:
    if file in STDIN:
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"no file '{file}'") from None
    except IsADirectoryError:
        raise UsageError(f"'{file}' is a folder", hint="give a file") from None
