"""Certificates for the tests that speak TLS, made by the ``openssl`` program."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

_SERVER = "-x509 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
_CA = "-x509 -nodes -days 2 -subj /CN=authority"


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with ``server``, ``other``, ``client`` and ``ca``, each ``.crt`` and ``.key``.

    ``client.crt`` is signed by ``ca``; ``locked.key`` is the server's with a password, ``both.pem``
    its certificate and key in one file.
    """
    if shutil.which("openssl") is None:
        pytest.skip("no openssl program to make certificates with")
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(line: str) -> None:
        subprocess.run(["openssl", *line.split()], cwd=folder, check=True, capture_output=True)

    new = "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
    openssl(f"{new} {_SERVER} -keyout server.key -out server.crt")
    openssl(f"{new} {_SERVER} -keyout other.key -out other.crt")
    openssl(f"{new} {_CA} -keyout ca.key -out ca.crt")
    openssl(f"{new} -nodes -subj /CN=client -keyout client.key -out client.csr")
    openssl("x509 -req -in client.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out client.crt")
    openssl("ec -in server.key -aes128 -passout pass:secret -out locked.key")
    whole = (folder / "server.crt").read_text() + (folder / "server.key").read_text()
    (folder / "both.pem").write_text(whole)
    return folder
