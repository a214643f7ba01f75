"""Where an entry comes from: a statement beside it, never a part of it.

    git, CI job, user, modelpack ─┐
    models, lock                  ├─ statement ──attach──► referrer of the entry (in-toto, SLSA v1)
    training data, metrics       ─┘                             └──read──► Provenance

The same input gives the same bundle whoever builds it, wherever and when.  Who, where and when
are worth knowing all the same: they stand in a statement that names the entry by its digest.

git        the revision of a folder      training   what a model was trained on and how good it is
statement  in-toto and SLSA              attach     to and from the store
"""

from __future__ import annotations

from modelpack.provenance.attach import (
    read_provenance,
    record_build,
    record_training,
    trainings_of,
)
from modelpack.provenance.git import Revision, revision_of
from modelpack.provenance.statement import Provenance
from modelpack.provenance.training import Resource, Training, training_facts

__all__ = [
    "Provenance",
    "Resource",
    "Revision",
    "Training",
    "read_provenance",
    "record_build",
    "record_training",
    "revision_of",
    "training_facts",
    "trainings_of",
]
