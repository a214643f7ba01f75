"""Every option is looked at before anything is planned, and no Google is asked for that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from modelpack_gcp.gke import GkeTarget
from modelpack_gcp.options import _CHECKS, check
from modelpack_gcp.target import CloudRunTarget, GcpTarget, VertexTarget

from modelpack.errors import UsageError

RIGHT = {
    "access_logs": "no",
    "base": "registry.example/python:3.11-slim",
    "billing": "instance",
    "cluster": "prod-1",
    "credentials": "none",
    "egress": "all",
    "endpoint": "http://127.0.0.1:8080",
    "grpc": "yes",
    "ingress": "balancer",
    "inside": "yes",
    "invokers": "user:me@example.org, serviceAccount:it@demo.iam.gserviceaccount.com allUsers",
    "project": "my-project",
    "region": "europe-west1",
    "service_account": "runner@my-project.iam.gserviceaccount.com",
    "spot": "yes",
    "target_percent": "100",
    "timeout": "3600",
    "zonal_redundancy": "yes",
}


def test_there_is_a_check_for_every_option() -> None:
    known = set(GkeTarget.from_options({"cluster": "a"}).given) | set(RIGHT)

    assert set(_CHECKS) == known


@pytest.mark.parametrize("option", RIGHT)
def test_what_is_right_is_taken(option: str) -> None:
    check({option: RIGHT[option]})


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("project", "example.com:my-project"),
        ("project", "123456789012"),
        ("endpoint", "https://google.example"),
        ("endpoint", "http://[::1]:80"),
        ("invokers", "domain:example.org"),
        ("invokers", "principalSet://iam.googleapis.com/locations/global/workforcePools/us/*"),
        ("region", "northamerica-northeast2"),
    ],
)
def test_other_forms_are_taken_too(option: str, said: str) -> None:
    check({option: said})


@pytest.mark.parametrize(
    ("option", "said", "words"),
    [
        ("access_logs", "1", "must be yes or no, got '1'"),
        ("base", "", "is not the name of an image"),
        ("base", "two words", "is not the name of an image"),
        ("billing", "instances", "must be request or instance, got 'instances'"),
        ("egress", "some", "must be private or all, got 'some'"),
        ("endpoint", "ftp://google.example", "must be the address of a server"),
        ("endpoint", "google.example", "must be the address of a server"),
        ("endpoint", "http://google.example", "would get the token without encryption"),
        ("endpoint", "https://me@google.example", "with a password in it is not taken"),
        ("endpoint", "http://127.0.0.1:99999", "must be the address of a server"),
        ("endpoint", "http://[::1", "must be the address of a server"),
        ("grpc", "maybe", "must be yes or no, got 'maybe'"),
        ("ingress", "open", "must be internal or balancer or all, got 'open'"),
        ("inside", "Yes", "must be yes or no, got 'Yes'"),
        ("invokers", "me@example.org", "'me@example.org' is nobody that Google knows"),
        ("invokers", "user:me", "'user:me' is nobody"),
        ("invokers", "", "'' is nobody"),
        ("project", "My Project", "'My Project' is not the id of a project"),
        ("project", "p", "'p' is not the id of a project"),
        ("region", "mars-1", "no region of Google is called 'mars-1'"),
        ("region", "", "no region of Google is called ''"),
        ("region", "europe-west1-b", "'europe-west1-b' is a zone"),
        ("service_account", "runner", "'runner' is not the address of a service account"),
        ("spot", "", "must be yes or no, got ''"),
        ("timeout", "0", "must be a whole number from 1 to 3600, got '0'"),
        ("timeout", "²", "must be a whole number from 1 to 3600, got '²'"),
        ("timeout", "9" * 5000, "must be a whole number from 1 to 3600"),
        ("target_percent", "60%", "must be a whole number from 1 to 100, got '60%'"),
        ("zonal_redundancy", "true", "must be yes or no, got 'true'"),
    ],
)
def test_what_is_wrong_is_refused_when_the_target_is_made(
    option: str, said: str, words: str
) -> None:
    target = VertexTarget if option in ("access_logs", "spot", "target_percent") else CloudRunTarget

    with pytest.raises(UsageError) as caught:
        target.from_options({option: said})

    assert words in caught.value.message
    assert option in caught.value.message
    assert caught.value.hint
    assert len(caught.value.message) < 200


def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        GcpTarget.from_options({"endpoint": "https://me:hunter2@google.example"})

    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot read"),
        ("", "has no credentials of Google in it"),
        ("[]", "has no credentials of Google in it"),
        ('{"installed": {}}', "has no credentials of Google in it"),
        ("\x00\xff", "has no credentials of Google in it"),
    ],
)
@pytest.mark.parametrize("target", [GcpTarget, GkeTarget])
def test_credentials_that_are_none_are_refused(
    target: type[GcpTarget | GkeTarget], text: str | None, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "credentials.json"
    if text is not None:
        file.write_text(text, encoding="latin-1")

    with pytest.raises(UsageError, match=words):
        target.from_options({"credentials": str(file), "cluster": "prod"} if target is GkeTarget
                            else {"credentials": str(file)})  # fmt: skip


def test_a_file_is_remembered_by_its_whole_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "me.json").write_text(json.dumps({"type": "authorized_user"}))
    monkeypatch.chdir(tmp_path)

    found = GcpTarget.from_options({"credentials": "me.json"}).options

    assert found == {"credentials": str(tmp_path / "me.json")}


def test_a_cluster_may_stand_in_a_zone() -> None:
    zonal = GkeTarget.from_options({"cluster": "prod", "region": "europe-west1-b"})

    assert zonal.whereabouts["region"] == "europe-west1-b"
    with pytest.raises(UsageError, match="no region of Google is called 'mars'"):
        GkeTarget.from_options({"cluster": "prod", "region": "mars"})


def test_options_of_manifests_are_looked_at_for_gke_too() -> None:
    with pytest.raises(UsageError, match="scaler"):
        GkeTarget.from_options({"cluster": "prod", "scaler": "maybe"})
