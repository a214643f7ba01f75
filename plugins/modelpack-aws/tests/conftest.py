"""What the tests of every service share: templates are checked by cfn-lint and by our own rules."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from modelpack_aws import policy
from modelpack_aws.template import Template

Check = Callable[..., None]


@pytest.fixture(autouse=True)
def _own_surroundings(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Give each test a home of its own, and nothing of this machine's AWS configuration."""
    monkeypatch.setenv("MODELPACK_HOME", str(tmp_path_factory.mktemp("home")))
    for variable in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.fixture(scope="session")
def check_template() -> Check:
    """Fail unless cfn-lint has no finding in a template, and our rules none either."""
    from cfnlint.api import lint

    def check(template: Template, *, public: bool = False) -> None:
        assert [str(one) for one in policy.lint(template.to_json(), public=public)] == []
        found = lint(template.text())
        assert [f"{one.rule.id} {one.path}: {one.message}" for one in found] == []
        assert template.body()

    return check
