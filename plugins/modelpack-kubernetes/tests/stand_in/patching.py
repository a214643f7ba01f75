"""Patches but for server-side apply: RFC 7396, RFC 6902, and Kubernetes' strategic merge.

    former, body, content type ──patched──► the value as it is asked for

``rollout undo`` sends RFC 6902; of its operations ``copy`` and ``move`` are not here.
"""

from __future__ import annotations

import copy
from typing import Any

from . import refusals
from .applying import merge
from .refusals import Refused
from .schema import Schema

_MOST = 10_000


def patched(former: Any, patch: Any, type_: str, schema: Schema) -> Any:
    """Return the value with a patch of that content type; raises Refused."""
    is_list = type_ == "application/json-patch+json"
    if isinstance(patch, list) != is_list:
        raise refusals.bad("the body of the request cannot be read as a patch")
    if is_list:
        return _operated(former, patch)
    if type_ == "application/merge-patch+json":
        return _merged(former, patch)
    if type_ == "application/strategic-merge-patch+json":
        return _strategic(former, patch, schema)
    raise Refused(415, "UnsupportedMediaType", f"the body was in {type_}")


def _merged(value: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(value) if isinstance(value, dict) else {}
    for key, one in patch.items():
        if one is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), one)
    return merged


def _strategic(value: Any, patch: Any, schema: Schema) -> Any:
    """Merge lists by their keys, and take away what is null; ``$patch`` and its like are left out."""
    found = merge(value, _plain(patch), schema)
    return _cleared(found, patch)


def _plain(patch: Any) -> Any:
    if isinstance(patch, dict):
        return {key: _plain(one) for key, one in patch.items() if not key.startswith("$")}
    return [_plain(one) for one in patch] if isinstance(patch, list) else patch


def _cleared(value: Any, patch: Any) -> Any:
    """Return a value without what a patch says is null."""
    if not isinstance(value, dict) or not isinstance(patch, dict):
        return value
    return {
        key: _cleared(one, patch.get(key))
        for key, one in value.items()
        if key not in patch or patch[key] is not None
    }


def _operated(value: Any, operations: list[Any]) -> Any:
    """RFC 6902: ``add``, ``remove``, ``replace``, ``test``."""
    found = copy.deepcopy(value)
    for one in operations[:_MOST]:
        path = str(one.get("path", ""))
        *way, last = [
            part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]
        ] or [""]
        try:
            place = found
            for step in way:
                place = place[int(step) if isinstance(place, list) else step]
            _operate(place, last, one)
        except (KeyError, IndexError, ValueError, TypeError) as cause:
            raise refusals.invalid("", "", [f"{path}: the server rejected our request"]) from cause
    return found


def _operate(place: Any, last: str, one: dict[str, Any]) -> None:
    key: Any = last
    if isinstance(place, list):
        key = len(place) if last == "-" else int(last)
    if one["op"] == "add" and isinstance(place, list):
        place.insert(key, one["value"])
    elif one["op"] == "add":
        place[key] = one["value"]
    elif one["op"] == "replace":
        place[key] = (place[key], one["value"])[1]  # what is not there cannot be replaced
    elif one["op"] == "remove":
        del place[key]
    elif one["op"] != "test" or place[key] != one["value"]:
        raise ValueError(one["op"])
