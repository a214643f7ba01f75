"""The statement itself: an in-toto statement with the SLSA provenance predicate, version 1.

    subject           the entry, by tag and digest
    buildDefinition   what was asked for, and all that went in by digest: source, lock, models, data
    runDetails        who built it with what, when; ``modelpack_metrics`` of a model

Facts ──bundle_statement, model_statement──► JSON ──Provenance.from_statement──► facts again

Reading is lenient: a statement that another tool made says what it says, and no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelpack.provenance.git import Revision
from modelpack.provenance.training import Metric, Resource, Training
from modelpack.store import Entry, Kind
from modelpack.tag import Tag

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:modelpack:build:{kind}:1"
SOURCE, LOCK = "source", "requirements.lock"
METRICS, USER = "modelpack_metrics", "modelpack_user"


@dataclass(frozen=True, slots=True)
class Builder:
    """Who built an entry, with what."""

    id: str
    """URI: that of the job in a pipeline, else ``urn:modelpack:builder:local``."""
    user: str | None = None
    """Login name, where the builder is nobody better known."""
    modelpack: str | None = None
    """Version of modelpack."""
    python: str | None = None
    """``X.Y.Z``."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where an entry comes from, as its statement has it."""

    builder: Builder
    finished: str | None = None
    """When the build ended, UTC, RFC 3339."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """What was asked for."""
    source: Revision | None = None
    lock: str | None = None
    """SHA-256 of the lock, 64 hex digits."""
    training: Training = field(default_factory=Training)
    """Of a model alone."""
    models: Mapping[str, Training] = field(default_factory=dict)
    """How the models of a bundle came to be, by tag; empty facts where nothing is known."""

    def statement(self, kind: Kind, tag: Tag, digest: str, pinned: Mapping[str, str]) -> Any:
        """Return the statement about an entry as JSON values.

        ``pinned`` are the digests of the models of a bundle by tag.
        """
        metadata: dict[str, Any] = {}
        if self.finished:
            metadata["finishedOn"] = self.finished
        if self.builder.user:
            metadata[USER] = self.builder.user
        if self.training.metrics:
            metadata[METRICS] = dict(self.training.metrics)
        versions = {"modelpack": self.builder.modelpack, "python": self.builder.python}
        return {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": str(tag), "digest": _sha256(digest)}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE.format(kind=kind),
                    "externalParameters": dict(self.parameters),
                    "resolvedDependencies": self._dependencies(pinned),
                },
                "runDetails": {
                    "builder": {
                        "id": self.builder.id,
                        "version": {key: one for key, one in versions.items() if one},
                    },
                    "metadata": metadata,
                },
            },
        }

    def _dependencies(self, pinned: Mapping[str, str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        if self.source is not None:
            found.append(_source_json(self.source))
        if self.lock is not None:
            found.append({"name": LOCK, "digest": {"sha256": self.lock}})
        for tag, digest in pinned.items():
            one: dict[str, Any] = {"name": f"models/{tag}", "digest": _sha256(digest)}
            if training := self.models.get(tag):
                one["annotations"] = training_json(training)
            found.append(one)
        return found + [{**data.to_json(), "mediaType": DATA_TYPE} for data in self.training.data]

    @classmethod
    def from_statement(cls, value: Mapping[str, Any]) -> Provenance:
        """Read a statement as far as it has the form; what has another one is left out."""
        predicate = _object(value, "predicate")
        definition = _object(predicate, "buildDefinition")
        details = _object(predicate, "runDetails")
        metadata = _object(details, "metadata")
        parts = [one for one in _list(definition, "resolvedDependencies") if "name" in one]
        named = {str(one["name"]): one for one in parts}
        models = {
            name.removeprefix("models/"): _training(_object(one, "annotations"))
            for name, one in named.items()
            if name.startswith("models/")
        }
        data = [one for one in parts if one.get("mediaType") == DATA_TYPE]
        return cls(
            builder=_builder(details, metadata),
            finished=_text(metadata, "finishedOn"),
            parameters=_object(definition, "externalParameters"),
            source=_revision(named.get(SOURCE, {})),
            lock=_text(_object(named.get(LOCK, {}), "digest"), "sha256"),
            training=Training(_metrics(_object(metadata, METRICS)), _resources(data)),
            models=models,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the facts as JSON values for programs."""
        source = self.source
        return {
            "builder": {
                "id": self.builder.id,
                "user": self.builder.user,
                "modelpack": self.builder.modelpack,
                "python": self.builder.python,
            },
            "finished": self.finished,
            "parameters": dict(self.parameters),
            "source": source
            and {
                "commit": source.commit,
                "branch": source.branch,
                "repository": source.repository,
                "is_dirty": source.is_dirty,
                "changes": list(source.changes),
            },
            "lock_sha256": self.lock,
            **training_json(self.training),
            "models": {tag: training_json(one) for tag, one in self.models.items()},
        }


DATA_TYPE = "application/vnd.modelpack.training-data"
"""Media type by which training data are told from what else went in."""


def training_json(training: Training) -> dict[str, Any]:
    """Return metrics and data as JSON values."""
    data = [one.to_json() for one in training.data]
    return {"metrics": dict(training.metrics), "data": data}


def pinned_models(entry: Entry, models: Sequence[Entry]) -> dict[str, str]:
    """Return the digests of the models of a bundle by tag; none for a model alone."""
    return {str(one.tag): one.digest for one in models if entry.kind is Kind.BUNDLE}


def _source_json(source: Revision) -> dict[str, Any]:
    found: dict[str, Any] = {"name": SOURCE, "digest": {"gitCommit": source.commit}}
    if source.repository:
        found["uri"] = f"git+{source.repository}" + (f"@{source.branch}" if source.branch else "")
    annotations: dict[str, Any] = {"dirty": source.is_dirty}
    if source.branch:
        annotations["branch"] = source.branch
    if source.changes:
        annotations["changes"] = list(source.changes)
    return {**found, "annotations": annotations}


def _revision(value: Mapping[str, Any]) -> Revision | None:
    commit = _text(_object(value, "digest"), "gitCommit")
    if commit is None:
        return None
    annotations = _object(value, "annotations")
    changes = annotations.get("changes")
    uri = (_text(value, "uri") or "").removeprefix("git+")
    branch = _text(annotations, "branch")
    return Revision(
        commit=commit,
        branch=branch,
        repository=uri.removesuffix(f"@{branch}") or None,
        changes=tuple(map(str, changes)) if isinstance(changes, list) else (),
    )


def _builder(details: Mapping[str, Any], metadata: Mapping[str, Any]) -> Builder:
    builder = _object(details, "builder")
    versions = _object(builder, "version")
    return Builder(
        id=_text(builder, "id") or "not known",
        user=_text(metadata, USER),
        modelpack=_text(versions, "modelpack"),
        python=_text(versions, "python"),
    )


def _training(value: Mapping[str, Any]) -> Training:
    return Training(_metrics(_object(value, "metrics")), _resources(_list(value, "data")))


def _metrics(value: Mapping[str, Any]) -> dict[str, Metric]:
    return {k: v for k, v in value.items() if isinstance(v, float | int | str | bool)}


def _resources(values: Sequence[Mapping[str, Any]]) -> tuple[Resource, ...]:
    found = []
    for one in values:
        digest = _text(_object(one, "digest"), "sha256")
        size = _object(one, "annotations").get("size")
        if digest is not None:
            known = size if isinstance(size, int) else None
            found.append(Resource(str(one.get("name")), digest, known))
    return tuple(found)


def _sha256(digest: str) -> dict[str, str]:
    return {"sha256": digest.removeprefix("sha256:")}


def _object(value: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _list(value: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = value.get(key)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _text(value: Mapping[str, Any], key: str) -> str | None:
    found = value.get(key)
    return found if isinstance(found, str) else None
