"""Tells what looks like a secret: by the name of a file, and by what stands in it.

Names are those under which keys, credentials and logins are usually kept; such files are left
out.  Shapes are those of keys and tokens that are long and regular enough not to be met by chance;
a file that holds one stops the build (threat model S11).
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

NAMES = (
    # environments and logins
    ".env*", ".envrc", ".netrc", "_netrc", ".pypirc", ".npmrc", ".yarnrc.yml", ".git-credentials",
    ".htpasswd", ".pgpass", ".my.cnf", ".boto", ".s3cfg", ".dockercfg", "kubeconfig",
    # folders of tools that keep logins
    ".git", ".ssh", ".aws", ".azure", ".docker", ".gcloud", ".gnupg", ".kube", ".terraform",
    # keys and certificates
    "*.pem", "*.key", "*.crt", "*.cer", "*.der", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx",
    "*.ppk", "*.gpg", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*",
    # credential files
    "credentials.json", "credentials.y*ml", "*credentials*.json", "client_secret*.json",
    "service-account*.json", "service_account*.json", "*-service-account.json",
    "*_service_account.json", "secrets.json", "secrets.y*ml", "secrets.toml", "*.tfstate",
    "*.tfstate.*", "*.tfvars",
)  # fmt: skip
"""Patterns for one part of a path, compared in lower case."""

_SHAPES = {
    "a private key": rb"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----",
    "an AWS access key id": rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a service account key": rb"\"type\"\s{0,8}:\s{0,8}\"service_account\"",
    "a storage account key": rb"AccountKey=[A-Za-z0-9+/]{80,}={0,2}",
    "a GitHub token": rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{50})",
    "a GitLab token": rb"\bglpat-[A-Za-z0-9_-]{20}",
    "a Slack token": rb"\bxox[abeprs]-[A-Za-z0-9-]{20}",
    "a Google API key": rb"\bAIza[0-9A-Za-z_-]{35}",
    "a Stripe key": rb"\b[rs]k_live_[0-9a-zA-Z]{20}",
    "a package index token": rb"\b(?:pypi-AgE[A-Za-z0-9_-]{40}|npm_[A-Za-z0-9]{36})",
    "a model hub token": rb"\bhf_[A-Za-z0-9]{30}",
    "an API key": rb"\bsk-(?:[a-z]{2,8}-)?[A-Za-z0-9_-]{40}",
}
_RULES = tuple(_SHAPES)
_ANY_SHAPE = re.compile(b"|".join(b"(" + shape + b")" for shape in _SHAPES.values()))

MAX_SCANNED_BYTES = 8 * 1024 * 1024
"""Longer files are data, not text that somebody wrote."""


def is_denied(path: str) -> bool:
    """Say whether a part of the path is a name under which secrets are kept."""
    return denied_by(path) is not None


def denied_by(path: str) -> str | None:
    """Return the pattern of NAMES that a part of the path has; None when there is none."""
    parts = path.lower().split("/")
    return next((one for part in parts for one in NAMES if fnmatchcase(part, one)), None)


def find_secret(data: bytes) -> tuple[str, int] | None:
    """Return the kind and the line of the first secret in a text; None too for binary data."""
    if b"\0" in data[:8192]:
        return None
    match = _ANY_SHAPE.search(data)
    if match is None:
        return None
    return _RULES[(match.lastindex or 1) - 1], data.count(b"\n", 0, match.start()) + 1
