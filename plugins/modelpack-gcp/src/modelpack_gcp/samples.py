"""An instance that an api takes, made from what the bundle records of it.

    bundle's config, ``spec.apis``
    {"input": {"properties": {"x": {"type": "array", …}}}, "batch": …} ──instance──► [0.0, 0.0]

An endpoint of Vertex AI passes on one path alone, so the service cannot be asked for its own examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelpack.deploy.samples import sample


def instance(api: Mapping[str, Any]) -> Any:
    """Return one instance: of a batch one row of each list; of one parameter, its value alone."""
    schema = api.get("input") or {}
    # Where all has a default, nothing is required; an instance names it all the same.
    required = schema.get("required") or list(schema.get("properties") or ())
    whole = sample({**schema, "required": required})
    values = dict(whole) if isinstance(whole, Mapping) else {}
    if api.get("batch"):
        values = {
            key: one[0] if isinstance(one, list) and one else one for key, one in values.items()
        }
    return next(iter(values.values())) if len(values) == 1 else values
