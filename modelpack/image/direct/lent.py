"""Sees that no login that packages were fetched with got into an image.

    index addresses of pip and uv with a login ──► find_leaks over our layers, config, manifest

Nothing that installs packages should leave one (what notes an address is dropped from the layers), so
this is the proof, not the protection (threat model S11).  Without such a login nothing is read.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping

from modelpack.archive.indexes import index_settings
from modelpack.errors import SecretFoundError
from modelpack.image.direct.assembling import DirectImage
from modelpack.image.leaks import find_leaks
from modelpack.image.reading import ReadImage, ReadLayer, Where

_LOGIN = re.compile(r"://[^/\s]+@")
_VARIABLES = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS")


def refuse_leaks(image: DirectImage, environ: Mapping[str, str] | None = None) -> None:
    """Raise SecretFoundError when an image holds a login of a package index."""
    if not (secrets := _logins(os.environ if environ is None else environ)):
        return
    layers = tuple(
        ReadLayer(layer.blob, layer.media_type, layer.diff_id, layer.chunks)
        for layer in image.layers
        if not layer.is_base
    )
    read = ReadImage(
        name=str(image.plan.entry.tag),
        where=Where.LAYOUT,
        platform=image.plan.platform.name,
        document=image.manifest,
        config=json.loads(image.config),
        layers=layers,
    )
    if found := find_leaks(read, secrets):
        raise SecretFoundError(
            f"the image would hold a login of a package index: {found[0]}",
            hint="nothing was written; take it out of what the bundle is made of",
        )


def _logins(environ: Mapping[str, str]) -> dict[str, bytes]:
    """Return the addresses with a login, by where they are set."""
    found = {name: environ.get(name, "") for name in _VARIABLES}
    for argument in index_settings(environ).arguments:
        flag, _, value = argument.partition("=")
        found[f"pip's {flag.strip('-')}"] = value
    return {name: text.encode() for name, text in found.items() if _LOGIN.search(text)}
