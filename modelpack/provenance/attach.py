"""Puts statements beside entries, and finds them there.

bundle just built, model just saved ──► statement ──same as the last but for its time?──► done
                                                        └ no ──► Store.attach ──► referrer
entry ──► its newest statement ──► Provenance
"""

from __future__ import annotations

import getpass
import json
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from modelpack.errors import NotFoundError, StoreError
from modelpack.manifest import BundleManifest, canonical_json
from modelpack.provenance.git import Revision, revision_of
from modelpack.provenance.statement import PREDICATE_TYPE, Builder, Provenance, pinned_models
from modelpack.provenance.training import Training
from modelpack.store import Entry, Kind, Store
from modelpack.store.index import timestamp
from modelpack.tag import Tag
from modelpack.version import __version__

IN_TOTO_TYPE = "application/vnd.in-toto+json"
"""Artifact type and media type of an in-toto statement."""
PREDICATE_ANNOTATION = "in-toto.io/predicate-type"
LOCAL_BUILDER = "urn:modelpack:builder:local"
_JOBS = ("MODELPACK_BUILDER", "CI_JOB_URL", "BUILD_URL")


def record_build(
    store: Store,
    entry: Entry,
    manifest: BundleManifest,
    *,
    source: Revision | None,
    models: Sequence[Entry] = (),
) -> Provenance:
    """Attach to a bundle where it comes from; building it again the same way adds nothing.

    source  revision of the project's folder
    models  the stored models that it was made with; what is known of them is said again here,
            because a bundle travels without them
    """
    asked = {"tag": str(entry.tag), "service": manifest.service, "model": manifest.model}
    found = Provenance(
        builder=builder(),
        finished=timestamp(None),
        parameters={**{k: v for k, v in asked.items() if v}, "python": manifest.python},
        source=source,
        lock=manifest.lock_sha256,
        models={str(one.tag): training_of(store, one) for one in models},
    )
    _attach(store, entry, found, pinned_models(entry, models))
    return found


def record_training(store: Store, entry: Entry, training: Training) -> Provenance:
    """Attach to a saved model where it comes from: what it was trained on, how good it is.

    The revision is that of the folder in which the script runs.
    """
    found = Provenance(
        builder=builder(),
        finished=timestamp(None),
        parameters={"tag": str(entry.tag)},
        source=revision_of(Path()),
        training=training,
    )
    _attach(store, entry, found, {})
    return found


def read_provenance(store: Store, entry: Entry) -> Provenance | None:
    """Return what the newest statement about an entry says; None when there is none.

    Raises DigestMismatchError for a damaged one.
    """
    statements = _statements(store, entry)
    return Provenance.from_statement(statements[-1]) if statements else None


def training_of(store: Store, model: Entry) -> Training:
    """Return what is known of a saved model's training."""
    found = read_provenance(store, model)
    return Training() if found is None else found.training


def trainings_of(store: Store, bundle: Entry, manifest: BundleManifest) -> dict[str, Training]:
    """Return what is known of the training of a bundle's models, by the name of the model.

    It is what the bundle's own statement says, else what is said of the same model in this store.
    """
    own = read_provenance(store, bundle)
    local = {one.digest: one for one in store.list(Kind.MODEL) if one.damage is None}
    found = {}
    for pinned in manifest.models:
        name, tag = str(pinned["name"]), f"{pinned['name']}:{pinned['version']}"
        training = own.models.get(tag) if own is not None else None
        model = local.get(str(pinned["digest"]))
        if not training and model is not None:
            training = training_of(store, model)
        found[name] = training or Training()
    return found


def builder(environ: Mapping[str, str] = os.environ) -> Builder:
    """Return who builds: the job of a pipeline when there is one, else the user of this machine."""
    job = next((environ[name] for name in _JOBS if environ.get(name)), None)
    if job is None and environ.get("GITHUB_RUN_ID"):
        server, repository = environ.get("GITHUB_SERVER_URL"), environ.get("GITHUB_REPOSITORY")
        job = f"{server}/{repository}/actions/runs/{environ['GITHUB_RUN_ID']}"
    return Builder(
        id=job or LOCAL_BUILDER,
        user=None if job else _login(),
        modelpack=__version__,
        python=platform.python_version(),
    )


def _login() -> str | None:
    with suppress(KeyError, OSError):  # a user without a name, as in many containers
        return getpass.getuser()
    return None


def _attach(store: Store, entry: Entry, found: Provenance, pinned: Mapping[str, str]) -> None:
    tag = Tag(entry.tag.name, entry.tag.version)
    statement = found.statement(entry.kind, tag, entry.digest, pinned)
    known = [_timeless(one) for one in _statements(store, entry)]
    if _timeless(statement) in known:
        return
    store.attach(
        entry,
        artifact_type=IN_TOTO_TYPE,
        media_type=IN_TOTO_TYPE,
        data=canonical_json(statement),
        annotations={PREDICATE_ANNOTATION: PREDICATE_TYPE},
    )


def _statements(store: Store, entry: Entry) -> list[dict[str, Any]]:
    """Return the SLSA statements about an entry, the newest last."""
    found = []
    for referrer in store.referrers(entry, IN_TOTO_TYPE):
        try:
            value = json.loads(store.read_referrer(referrer))
        except NotFoundError:
            continue  # taken away in this moment
        except ValueError as cause:
            raise StoreError(f"a statement about '{entry.tag}' is not JSON") from cause
        if isinstance(value, dict) and value.get("predicateType") == PREDICATE_TYPE:
            found.append(value)
    return found


def _timeless(statement: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy without the one fact that differs whenever the same is done again."""
    copy: dict[str, Any] = json.loads(json.dumps(statement))
    with suppress(KeyError, TypeError):
        del copy["predicate"]["runDetails"]["metadata"]["finishedOn"]
    return copy
