"""Packages in somebody else's storage: what is missing there is told before Ray is asked for it."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from modelpack_ray.packages import names_of
from modelpack_ray.target import RayTarget

from modelpack.errors import DeployError

from .conftest import deploy, spec, target_at
from .ray_stand_in import StandIn


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        return


def _certificate(file: Path) -> None:
    """Write a certificate for 127.0.0.1 and its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "packages")])
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    day = datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - day, now + day)
        .add_extension(here, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    kind = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    secret = key.private_bytes(kind, serialization.PrivateFormat.PKCS8, plain)
    file.write_bytes(made.public_bytes(kind) + secret)


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """A storage over https, and the folder that it gives out."""
    pem, folder = tmp_path / "storage.pem", tmp_path / "given"
    folder.mkdir()
    _certificate(pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"https://127.0.0.1:{server.server_address[1]}", folder
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_package_that_is_missing_is_told_before_ray_is_asked(
    ray: StandIn, storage: tuple[str, Path]
) -> None:
    url, folder = storage
    target = target_at(ray, packages=url)
    names = names_of(spec("a"))
    for name in (names.node, names.bundle):
        with pytest.raises(DeployError, match=f"there is no package at '{url}/{name}'") as caught:
            deploy(target, spec("a"))
        assert "'--output DIR' writes into DIR/packages" in (caught.value.hint or "")
        assert ray.apps == {}
        (folder / name).write_bytes(b"")
    deploy(target, spec("a"))
    (app,) = ray.apps.values()
    assert app["config"]["runtime_env"]["working_dir"] == f"{url}/{names.bundle}"


def test_a_storage_that_only_the_nodes_can_ask_is_left_to_them(ray: StandIn) -> None:
    for url in ("https://127.0.0.1:1/models", "s3://models/ray"):
        target = target_at(ray, packages=url)
        deploy(target, spec("a"))
        target.destroy("digits")


def test_what_the_nodes_could_not_get_is_told_with_what_to_do(
    ray: StandIn, target: RayTarget
) -> None:
    deploy(target, spec("a"))
    ray.said = f"HTTPError: 404 for s3://models/{names_of(spec('b')).bundle}"
    with pytest.raises(DeployError) as caught:
        deploy(target_at(ray, packages="s3://models"), spec("b", BREAKS="yes"))
    assert "Ray asks for it again after ten minutes" in (caught.value.hint or "")
