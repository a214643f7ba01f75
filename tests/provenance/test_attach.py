from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from modelpack.manifest import BundleManifest
from modelpack.provenance import Resource, Training, read_provenance, record_build, record_training
from modelpack.provenance.attach import IN_TOTO_TYPE, builder
from modelpack.provenance.git import Revision
from modelpack.store import Entry, Store

TRAINING = Training({"accuracy": 0.97}, (Resource("train.csv", "b" * 64, 12),))
MANIFEST = BundleManifest(
    service="service:Hello",
    model=None,
    python="3.11",
    files=(),
    models=(),
    lock_sha256="1" * 64,
    apis=(),
)
SOURCE = Revision("c" * 40, "refs/heads/main", "https://git.example/digits", ("service.py",))


@pytest.fixture
def bundle(store: Store, model: Entry, tmp_path: Path) -> Entry:
    return store.add_bundle(
        "hello", MANIFEST, root=tmp_path, lock="", models=[model], version="7"
    ).entry


def statements(store: Store, entry: Entry) -> list[dict[str, Any]]:
    return [json.loads(store.read_referrer(one)) for one in store.referrers(entry, IN_TOTO_TYPE)]


def test_a_model_tells_what_it_was_trained_on(store: Store, model: Entry) -> None:
    recorded = record_training(store, model, TRAINING)
    assert recorded.training == TRAINING
    assert read_provenance(store, model) == recorded
    assert store.find(model.tag, model.kind) == model, "the entry is what it was"


def test_a_model_saved_from_a_folder_that_is_gone_has_no_commit(
    store: Store, model: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert record_training(store, model, TRAINING).source is None


def test_a_bundle_tells_where_it_comes_from_and_what_its_models_said(
    store: Store, model: Entry, bundle: Entry
) -> None:
    record_training(store, model, TRAINING)
    recorded = record_build(store, bundle, MANIFEST, source=SOURCE, models=[model])
    found = read_provenance(store, bundle)
    assert found == recorded
    assert found.source == SOURCE
    assert found.lock == "1" * 64
    assert found.models == {"clf:1": TRAINING}
    assert found.parameters == {"tag": "hello:7", "service": "service:Hello", "python": "3.11"}


def test_a_statement_is_an_in_toto_statement_with_slsa_provenance(
    store: Store, model: Entry, bundle: Entry
) -> None:
    """Field by field as the two specifications have them, for the tools of others."""
    record_build(store, bundle, MANIFEST, source=SOURCE, models=[model])
    (statement,) = statements(store, bundle)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    digest = bundle.digest.removeprefix("sha256:")
    assert statement["subject"] == [{"name": "hello:7", "digest": {"sha256": digest}}]
    predicate = statement["predicate"]
    assert set(predicate) == {"buildDefinition", "runDetails"}
    definition, details = predicate["buildDefinition"], predicate["runDetails"]
    assert definition["buildType"] == "urn:modelpack:build:bundle:1"
    source, lock, pinned = definition["resolvedDependencies"]
    assert source["uri"] == "git+https://git.example/digits@refs/heads/main"
    assert source["digest"] == {"gitCommit": "c" * 40}
    assert lock == {"name": "requirements.lock", "digest": {"sha256": "1" * 64}}
    assert pinned["name"] == "models/clf:1"
    assert pinned["digest"] == {"sha256": model.digest.removeprefix("sha256:")}
    assert details["builder"]["id"] == "urn:modelpack:builder:local"
    assert details["metadata"]["modelpack_user"] == "ada"
    assert time.strptime(details["metadata"]["finishedOn"], "%Y-%m-%dT%H:%M:%SZ")
    (referrer,) = store.referrers(bundle)
    assert referrer.artifact_type == referrer.media_type == "application/vnd.in-toto+json"
    assert referrer.annotations["in-toto.io/predicate-type"] == statement["predicateType"]


def test_the_same_build_again_says_nothing_new(
    store: Store, bundle: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for epoch in ("1", "2", "3"):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
        record_build(store, bundle, MANIFEST, source=SOURCE)
    assert len(statements(store, bundle)) == 1


def test_the_same_content_of_another_commit_is_one_more_statement(
    store: Store, bundle: Entry
) -> None:
    record_build(store, bundle, MANIFEST, source=SOURCE)
    record_build(store, bundle, MANIFEST, source=Revision("d" * 40))
    assert len(statements(store, bundle)) == 2
    newest = read_provenance(store, bundle)
    assert newest is not None
    assert newest.source == Revision("d" * 40)


def test_what_others_attach_is_passed_over(store: Store, bundle: Entry) -> None:
    for data in (b'{"predicateType": "https://example.com/other"}', b"[]"):
        store.attach(bundle, artifact_type=IN_TOTO_TYPE, media_type=IN_TOTO_TYPE, data=data)
    assert read_provenance(store, bundle) is None


@pytest.mark.parametrize(
    "predicate",
    [
        {},
        {"buildDefinition": [], "runDetails": 5},
        {"buildDefinition": {"resolvedDependencies": [1, {}, {"name": "source"}]}},
        {"runDetails": {"builder": {"id": 7}, "metadata": {"modelpack_metrics": {"a": [1]}}}},
    ],
)
def test_a_statement_of_another_tool_is_read_as_far_as_it_goes(
    store: Store, bundle: Entry, predicate: dict[str, Any]
) -> None:
    value = {"predicateType": "https://slsa.dev/provenance/v1", "predicate": predicate}
    data = json.dumps(value).encode()
    store.attach(bundle, artifact_type=IN_TOTO_TYPE, media_type=IN_TOTO_TYPE, data=data)
    found = read_provenance(store, bundle)
    assert found is not None
    assert (found.builder.id, found.source, found.training) == ("not known", None, Training())


@pytest.mark.parametrize(
    ("variables", "job"),
    [
        ({"MODELPACK_BUILDER": "https://ci.example/7", "BUILD_URL": "x"}, "https://ci.example/7"),
        ({"CI_JOB_URL": "https://git.example/-/jobs/1"}, "https://git.example/-/jobs/1"),
        ({"BUILD_URL": "https://ci.example/job/digits/3/"}, "https://ci.example/job/digits/3/"),
        (
            {
                "GITHUB_SERVER_URL": "https://git.example",
                "GITHUB_REPOSITORY": "team/digits",
                "GITHUB_RUN_ID": "5",
            },
            "https://git.example/team/digits/actions/runs/5",
        ),
    ],
)
def test_in_a_pipeline_the_job_is_the_builder(variables: dict[str, str], job: str) -> None:
    found = builder(variables)
    assert (found.id, found.user) == (job, None)
