"""Values as the caller has them, and as JSON has them.

    array, Path, image, record ──plain──► what the JSON writer takes
    bytes ──load──► parsed JSON

Lists stay lists: whether their numbers are integers or fit the dtype is the server's to say.  numpy is
loaded when an array is met, not before.
"""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelpack.client.errors import CallError
from modelpack.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


def array_of(value: Any, dtype: str) -> Array | None:
    """Return an array of exactly that dtype, ready to be sent; None: the value is none.

    Takes numpy's arrays and what turns itself into one (a tensor of torch, a table of pandas).  An
    array of another dtype is cast where nothing but precision gets lost, as numpy's ``same_kind`` has it.
    """
    if not is_array(value):
        return None
    import numpy as np

    array = np.asarray(value)
    if dtype == "str" or array.dtype.kind not in "biuf":
        return None
    wanted = np.dtype(dtype)
    if array.dtype != wanted:
        if array.dtype.kind == "b" or not np.can_cast(array.dtype, wanted, "same_kind"):
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            cast = array.astype(wanted)
        if array.dtype.kind == "f" and wanted.itemsize < array.dtype.itemsize:
            # What became infinite did not fit: the server says where.
            if not np.array_equal(np.isfinite(array), np.isfinite(cast)):
                return None
        elif array.dtype.kind in "iu" and wanted.kind in "iu" and not np.array_equal(cast, array):
            return None
        array = cast
    return np.ascontiguousarray(array) if array.ndim else array


def is_array(value: Any) -> bool:
    """Say whether a value is an array, or turns itself into one."""
    return hasattr(value, "__array__") and not isinstance(value, type)


def file_of(value: Any) -> tuple[bytes, str] | None:
    """Return bytes and name of a file, or of an image of Pillow's; None: it is none.

    Raises NotFoundError for a path with nothing there, UsageError for one that is no file.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value), "file"
    if isinstance(value, os.PathLike):
        path = Path(value)
        try:
            return path.read_bytes(), path.name
        except FileNotFoundError:
            raise NotFoundError(f"no file '{path}'") from None
        except OSError as error:
            raise UsageError(f"'{path}': {(error.strerror or str(error)).lower()}") from None
    if hasattr(value, "save") and hasattr(value, "getbands"):  # PIL.Image.Image
        file = io.BytesIO()
        value.save(file, format="PNG")
        return file.getvalue(), "image.png"
    if hasattr(value, "read"):
        data = value.read()
        if isinstance(data, bytes):
            return data, Path(str(getattr(value, "name", "file"))).name
    return None


def dump(value: Any) -> bytes:
    """Return the JSON of arguments; raises TypeError for what has none."""
    import orjson

    try:
        return orjson.dumps(value, plain, orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
    except TypeError as error:
        raise TypeError(str(error.__cause__ or error)) from None


def plain(value: Any) -> Any:
    """Return what the JSON writer takes for a value that it does not know; raises TypeError."""
    if is_array(value):
        import numpy as np

        array = np.asarray(value)
        if array.dtype.kind in "biuf" and array.ndim:
            # The writer takes neither views with gaps nor bytes in foreign order.
            return np.ascontiguousarray(array, array.dtype.newbyteorder("="))
        return array.tolist()
    if (file := file_of(value)) is not None:
        return base64.b64encode(file[0]).decode()
    if callable(getattr(value, "model_dump", None)):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, set | frozenset | range):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def load(body: bytes | bytearray) -> Any:
    """Return parsed JSON; raises CallError."""
    import orjson

    try:
        return orjson.loads(body)
    except ValueError:
        raise CallError("the answer is not JSON", hint="is it a server of modelpack?") from None
