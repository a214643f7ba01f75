"""Where models and bundles are kept on this machine: an OCI image layout.

names    which paths may stand in a layer
tar      deterministic tars out          untar     hostile tars in
system   the calls that change a disk    durable   the one way to write
layout   blobs and index on disk         documents, index   the JSON of the format
pack     files to layers                 contents  layers to files
entries  staged blobs made visible       referrers what others say of an entry
trash    deleted tags                    garbage   delete, undelete, gc
checking every byte read again           exchange  one entry as one file
hashing  digests beside other work       reuse     weights that are stored already
store    the public face: ``Store``
"""

from __future__ import annotations

from modelpack.store.base import (
    ARTIFACT_TYPE,
    CODE_TYPE,
    CONFIG_TYPE,
    DOC_TYPE,
    MANIFEST_TYPE,
    SIDE_TYPE,
    WEIGHT_TYPE,
    Entry,
    Kind,
    Layer,
)
from modelpack.store.checking import Verified
from modelpack.store.entries import Added
from modelpack.store.garbage import Garbage, GcPlan
from modelpack.store.referrers import Referrer
from modelpack.store.store import Store
from modelpack.store.trash import KEPT, Deleted

__all__ = [
    "ARTIFACT_TYPE",
    "CODE_TYPE",
    "CONFIG_TYPE",
    "DOC_TYPE",
    "KEPT",
    "MANIFEST_TYPE",
    "SIDE_TYPE",
    "WEIGHT_TYPE",
    "Added",
    "Deleted",
    "Entry",
    "Garbage",
    "GcPlan",
    "Kind",
    "Layer",
    "Referrer",
    "Store",
    "Verified",
]
