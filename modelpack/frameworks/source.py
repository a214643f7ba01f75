"""Where a service comes from, as plain text, so that another process can open the same one.

Source("code", "service:Digits", "/home/me/digits")      a class in a project
Source("bundle", "", "/var/…/bundle")                    an unpacked bundle
Source("model", "model.onnx", "/home/me")                a bare model

Source ──open()──► ServiceSpec
Source ──to_text()──► JSON ──from_text()──► Source
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from modelpack.sdk.loading import find_service, load_import_string
from modelpack.sdk.model import using_source
from modelpack.sdk.service import ServiceSpec

Kind = Literal["code", "bundle", "model"]


@dataclass(frozen=True, slots=True)
class Source:
    """How to get a service; opening it runs its code."""

    kind: Kind
    target: str
    """Import string (empty: the one service of the folder), file name of a model, or empty."""
    folder: str
    """Absolute path of the project, of the unpacked bundle, or of the model's folder."""

    def open(self) -> ServiceSpec:
        """Return the service; raises as ``load_import_string`` and ``open_bundle`` do."""
        folder = Path(self.folder)
        match self.kind:
            case "code":
                return (
                    load_import_string(self.target, folder) if self.target else find_service(folder)
                )
            case "bundle":
                from modelpack.frameworks.bundled import BundledModels, open_bundle

                with using_source(BundledModels(folder)):
                    return open_bundle(folder)
            case "model":
                from modelpack.frameworks.zero import service_from_model

                return service_from_model(folder / self.target)

    @property
    def code_folder(self) -> Path | None:
        """The folder that goes first on the import path; None: there is no code."""
        match self.kind:
            case "code":
                return Path(self.folder)
            case "bundle":
                return Path(self.folder, "code")
            case "model":
                return None

    def to_text(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Source:
        """Return what ``to_text`` wrote; raises ValueError."""
        values = json.loads(text)
        if not isinstance(values, dict) or values.get("kind") not in get_args(Kind):
            raise ValueError("not a source")
        return cls(values["kind"], str(values["target"]), str(values["folder"]))
