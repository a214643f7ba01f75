"""Opens an unpacked bundle as a service: what a server in an image does first.

folder/bundle.json   which service, which models
folder/code/…        goes first on the import path
folder/models/NAME/  what ``modelpack.Model("NAME:...")`` means here
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from modelpack.errors import (
    ModelNotFoundError,
    StoreError,
    WrappedProgramError,
    did_you_mean,
)
from modelpack.frameworks.catalog import load_model
from modelpack.frameworks.zero import service_from_model
from modelpack.manifest import BUNDLE_FILE, BundleManifest
from modelpack.sdk.loading import load_import_string
from modelpack.sdk.service import ServiceSpec
from modelpack.tag import Tag


def read_manifest(folder: Path) -> BundleManifest:
    """Return the record of the unpacked bundle in ``folder``; raises StoreError."""
    file = folder / BUNDLE_FILE
    try:
        return BundleManifest.from_json(json.loads(file.read_bytes()))
    except (OSError, ValueError) as cause:
        raise StoreError(
            f"'{file}' cannot be read: {cause}",
            hint="MODELPACK_BUNDLE must name the folder of an unpacked bundle",
        ) from cause


def open_bundle(folder: Path) -> ServiceSpec:
    """Return the service of the bundle; its code is imported, so only for bundles one trusts."""
    manifest = read_manifest(folder)
    if manifest.model is not None:
        return service_from_model(folder / "models" / manifest.model, manifest.model)
    if manifest.program is not None:
        raise WrappedProgramError(manifest.program.path)
    if manifest.service is None:
        raise StoreError("the bundle names neither a service nor a model", hint="build it again")
    return load_import_string(manifest.service, folder / "code")


class BundledModels:
    """The models of one unpacked bundle, for ``sdk.model.set_source``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, tag: Tag) -> Path:
        """Return where the bundle keeps that model; raises ModelNotFoundError.

        A bundle holds one version of a name, pinned when it was built, so the version asked for
        in the code does not matter any more.
        """
        found = self.root / "models" / tag.name
        if not found.is_dir():
            names = [path.name for path in self.root.glob("models/*")]
            near = did_you_mean(tag.name, names)
            raise ModelNotFoundError(
                f"the bundle holds no model '{tag.name}'",
                hint=f"did you mean '{near}'?" if near else "build the bundle again",
            )
        return found

    def load(self, folder: Path) -> Any:
        """Return the model, ready to be called; raises UserCodeError."""
        return load_model(folder)
