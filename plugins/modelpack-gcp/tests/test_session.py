"""Who asks Google, for which project and where: given, or of the environment."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from modelpack_gcp.session import Session
from modelpack_gcp.target import GcpTarget

from modelpack.errors import CredentialsError, DeployError, UnreachableError, UsageError

from .fake_google import PARENT, PROJECT, REGION, FakeGoogle
from .google_parts import session_of

GET = "artifactregistry.projects.locations.repositories.get"


def test_what_is_given_stands_above_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDSDK_RUN_REGION", "us-east1")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "other-project")

    assert (Session().project, Session().region) == ("other-project", "us-east1")
    monkeypatch.setenv("GOOGLE_CLOUD_REGION", "us-west1")
    assert Session().region == "us-west1"
    assert Session(region_name=REGION, project_id="my-project").region == REGION
    assert Session(region_name=REGION, project_id="my-project").project == "my-project"


def test_without_any_it_is_said_what_to_set() -> None:
    with pytest.raises(CredentialsError, match="no Google region is set") as caught:
        _ = Session(credentials="none").region
    assert "--option region=" in str(caught.value.hint)
    with pytest.raises(CredentialsError, match="no Google project is set") as caught:
        _ = Session(credentials="none").project
    assert "--option project=" in str(caught.value.hint)


def test_a_region_of_the_environment_is_looked_at_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_REGION", "europe-west1-b")

    with pytest.raises(UsageError, match="GOOGLE_CLOUD_REGION: 'europe-west1-b' is a zone"):
        _ = Session().region


def test_without_credentials_it_is_said_how_to_log_in() -> None:
    with pytest.raises(CredentialsError) as caught:
        Session(project_id="my-project", region_name=REGION).call(
            GET, "look", name=f"{PARENT}/repositories/a"
        )
    assert "gcloud auth application-default login" in str(caught.value.hint)


def test_a_file_of_credentials_that_nobody_can_use_is_said(tmp_path: Path) -> None:
    file = tmp_path / "me.json"
    file.write_text(json.dumps({"type": "service_account"}))

    with pytest.raises(CredentialsError, match="cannot get an access token"):
        Session(credentials=str(file), project_id="my-project").token()


def test_a_service_account_asks_with_tokens_of_its_own(tmp_path: Path) -> None:
    google = FakeGoogle()
    try:
        options = {"credentials": str(google.account(tmp_path)), "endpoint": google.url}
        session = GcpTarget.from_options(options).google
        session.region_name = REGION
        google.repositories[f"{PARENT}/repositories/a"] = {"name": "a"}

        assert session.project == PROJECT
        assert session.call(GET, "look", name=f"{PARENT}/repositories/a") == {"name": "a"}
        assert f"Bearer {google.access_token}" in google.callers
        assert session.token() == google.access_token
        token = str(session.identity("https://a.example")).split(".")[1]
        assert json.loads(base64.urlsafe_b64decode(token + "=="))["aud"] == "https://a.example"
    finally:
        google.close()


def test_nobody_in_particular_has_no_tokens() -> None:
    nobody = Session(credentials="none")

    assert nobody.token() is None
    assert nobody.identity("https://a.example") is None


def test_reading_is_tried_again_and_what_may_have_been_done_is_not() -> None:
    google = FakeGoogle()
    try:
        session = session_of(google)
        google.repositories[f"{PARENT}/repositories/a"] = {"name": "a"}
        answers = iter(["lost", "refused"])
        google.fault = lambda _: next(answers, None)

        assert session.call(GET, "look", name=f"{PARENT}/repositories/a") == {"name": "a"}
        assert google.calls == [GET] * 3

        google.calls.clear()
        answers = iter(["lost"])
        method = "artifactregistry.projects.locations.repositories.delete"
        with pytest.raises(UnreachableError):
            session.call(method, "remove it", name=f"{PARENT}/repositories/a")
        assert google.calls == [method]
    finally:
        google.close()


def test_what_is_no_operation_is_refused() -> None:
    with pytest.raises(DeployError, match="is not the name of an operation"):
        Session().finish("run", {"name": "services/a"}, "make it")
