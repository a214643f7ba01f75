from __future__ import annotations

import pytest

from modelpack.archive.denied import find_secret, is_denied

# Put together here, so that no scanner takes this file for a leak.
SECRETS = {
    "a private key": "-----BEGIN " + "RSA PRIVATE KEY-----\nMIIE",
    "an AWS access key id": "AKIA" + "IOSFODNN7EXAMPLE",
    "a service account key": '{"type"' + ': "service_account"}',
    "a storage account key": "AccountKey" + "=" + "a1" * 43 + "==",
    "a GitHub token": "ghp_" + "a1B2" * 9,
    "a GitLab token": "glpat-" + "a1B2" * 5,
    "a Slack token": "xoxb-" + "1234567890-" * 3,
    "a Google API key": "AIza" + "a1B2c" * 7,
    "a Stripe key": "sk_live_" + "a1B2" * 6,
    "a package index token": "pypi-AgE" + "a1B2" * 12,
    "a model hub token": "hf_" + "a1B2c3" * 6,
    "an API key": "sk-proj-" + "a1B2" * 12,
}


@pytest.mark.parametrize("kind", sorted(SECRETS))
def test_the_shape_of_a_key_is_found_with_its_line(kind: str) -> None:
    text = f"import os\n\nKEY = '{SECRETS[kind]}'\n"
    assert find_secret(text.encode()) == (kind, 3)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-----BEGIN CERTIFICATE-----\nMIIE",
        "-----BEGIN PUBLIC KEY-----",
        "AKIA is how such an id begins",
        "the task-force-of-the-year-two-thousand-and-twenty-six",
        "sk-learn is not how scikit-learn is written",
        "hf_hub_download(repo)",
        "ghp_ and xoxb- and AIza and glpat- and pypi-AgE",
        "sha256:" + "0a" * 32,
    ],
)
def test_ordinary_text_is_not_taken_for_a_secret(text: str) -> None:
    assert find_secret(text.encode()) is None


def test_binary_data_is_not_searched() -> None:
    assert find_secret(b"\0" + SECRETS["an AWS access key id"].encode()) is None


@pytest.mark.parametrize(
    "path",
    [".env", ".env.production", "deep/.ENV", ".git/config", ".ssh/known_hosts", ".aws/config",
     ".netrc", ".pypirc", ".docker/config.json", "certs/server.pem", "tls.KEY", "id_ed25519",
     "id_rsa.pub", "gcp-credentials.json", "service-account-prod.json", "secrets.toml",
     "prod.tfstate", "x/.kube/config"],
)  # fmt: skip
def test_names_that_keep_secrets_are_denied(path: str) -> None:
    assert is_denied(path)


@pytest.mark.parametrize(
    "path",
    ["service.py", "environment.yml", "keys.py", "credentials/__init__.py", "model.onnx",
     "secrets.py", "git/config", "data/key", "src/env/config.json", "tokenizer.json"],
)  # fmt: skip
def test_ordinary_names_are_not_denied(path: str) -> None:
    assert not is_denied(path)
