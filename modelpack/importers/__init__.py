"""Brings in what other systems packed.

base       what an importer finds          catalog    which importer reads a path
triton, mar, mlflow, bento, savedmodel     the formats
unpacking  foreign archives                pbtxt, reading    what they are written in
convert    saved models and bundles        written    the code of a service around a model
"""

from __future__ import annotations

from modelpack.importers.base import Foreign, ForeignModel, Importer, Left
from modelpack.importers.catalog import importer_for, importer_names
from modelpack.importers.convert import Brought, bring_in

__all__ = [
    "Brought",
    "Foreign",
    "ForeignModel",
    "Importer",
    "Left",
    "bring_in",
    "importer_for",
    "importer_names",
]
