"""A package that only a private index has gets into an image, and the login to that index does not."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import sys
import threading
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from modelpack.archive import build_bundle
from modelpack.config.settings import ImageSettings, Project
from modelpack.errors import EngineError, RefusedError, SecretFoundError
from modelpack.image import BuildSecret, ImagePlan, build_image, connect, plan_image
from modelpack.sdk.loading import load_import_string
from modelpack.store import Store

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.slow]

TEST_LABEL = {"dev.modelpack.test": "1"}
MARK = uuid.uuid4().hex[:8]
PASSWORD = f"pa%ss-{uuid.uuid4().hex}"
IN_A_URL = PASSWORD.replace("%", "%25")
WHEEL = "acme_sauce-1.0-py3-none-any.whl"
SERVICE = """
import modelpack
import acme_sauce


@modelpack.service
class Sauce:
    @modelpack.api
    def taste(self) -> str:
        return acme_sauce.TASTE
"""


def wheel() -> bytes:
    """Make the wheel of a package that is nowhere else."""
    info = "acme_sauce-1.0.dist-info"
    files = {
        "acme_sauce.py": f"TASTE = 'hot {MARK}'\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: acme-sauce\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    record = "".join(f"{name},sha256={digest(text)},{len(text)}\n" for name, text in files.items())
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(name, text)
    return made.getvalue()


def digest(text: str) -> str:
    raw = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Index(ThreadingHTTPServer):
    """A package index on this machine that wants a password."""

    daemon_threads = True

    def __init__(self) -> None:
        self.wheel = wheel()
        super().__init__(("127.0.0.1", 0), Asked)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class Asked(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        login = base64.b64encode(f"builder:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {login}":
            self.answer(401, b"", ("WWW-Authenticate", 'Basic realm="acme"'))
        elif self.path == "/simple/acme-sauce/":
            sha256 = hashlib.sha256(self.server.wheel).hexdigest()
            page = f'<a href="/files/{WHEEL}#sha256={sha256}">{WHEEL}</a>'
            self.answer(200, page.encode(), ("Content-Type", "text/html"))
        elif self.path == f"/files/{WHEEL}":
            self.answer(200, self.server.wheel)
        else:
            self.answer(404, b"")

    do_HEAD = do_GET

    def answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture(scope="module")
def index() -> Iterator[Index]:
    with Index() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("private") / "store")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("private-project")


@pytest.fixture(scope="module")
def plan(index: Index, store: Store, project: Path) -> ImagePlan:
    return planned(index, store, project, SERVICE)


def planned(index: Index, store: Store, root: Path, source: str) -> ImagePlan:
    """Build the bundle as users do whose pip knows the index, and plan its image."""
    module = f"sauce_{uuid.uuid4().hex[:8]}"
    (root / f"{module}.py").write_text(source)
    (root / "acme_sauce.py").write_text("TASTE = 'only here'\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_EXTRA_INDEX_URL", f"http://builder:{IN_A_URL}@{index.host}/simple")
        patch.setattr(sys, "path", list(sys.path))
        spec = load_import_string(f"{module}:Sauce", root)
        sys.modules.pop("acme_sauce", None)
        settings = Project(
            root=root, name="sauce", requirements=("acme-sauce",), exclude=("acme_sauce.py",)
        )
        built = build_bundle(settings, spec, store=store)
    assert PASSWORD not in store.lock_text(built.entry)
    (root / f"{module}.py").unlink()
    return plan_image(store, built.entry, ImageSettings(), base=os.environ["ENGINE_BASE_IMAGE"])


@pytest.fixture
def name() -> Iterator[str]:
    """Give a name for an image, which is gone afterwards."""
    from docker.errors import ImageNotFound

    reference = f"modelpack-test/sauce:{uuid.uuid4().hex}"
    yield reference
    with connect() as engine, suppress(ImageNotFound):
        engine.remove_image(reference, force=True)


@pytest.fixture
def secret(request: pytest.FixtureRequest, index: Index, tmp_path: Path) -> BuildSecret:
    """Give the login in one of the ways in which people keep it."""
    login = f"http://builder:{IN_A_URL}@{index.host}/simple"
    file = tmp_path / "secret"
    match request.param:
        case "pip.conf":
            file.write_text(f"[global]\nextra-index-url = {login}\n")
        case "netrc":
            file.write_text(f"machine 127.0.0.1\nlogin builder\npassword {PASSWORD}\n")
        case _:
            request.getfixturevalue("monkeypatch").setenv("ACME_INDEX", login)
            return BuildSecret.parse(f"id={request.param},env=ACME_INDEX")
    return BuildSecret.parse(f"id={request.param},src={file}")


def everything_of(name: str) -> bytes:
    """Return an image as the engine hands it out: layers, config, history."""
    with connect() as engine:
        said = json.dumps([engine.inspect_image(name), engine.history(name)]).encode()
        return said + b"".join(engine.get_image(name))


def output_of(name: str, program: str) -> str:
    with connect() as engine:
        made = engine.create_container(
            name, entrypoint=["/bundle/venv/bin/python", "-I", "-c", program], labels=TEST_LABEL
        )
        try:
            engine.start(made["Id"])
            engine.wait(made["Id"], timeout=60)
            return engine.logs(made["Id"]).decode().strip()
        finally:
            engine.remove_container(made["Id"], force=True, v=True)


@pytest.mark.parametrize("secret", ["PIP_EXTRA_INDEX_URL", "netrc"], indirect=True)
def test_a_private_package_gets_in_and_its_password_does_not(
    index: Index,
    plan: ImagePlan,
    store: Store,
    *,
    secret: BuildSecret,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if secret.id == "netrc":  # the address is no secret then
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"http://{index.host}/simple")

    build_image(
        plan,
        store,
        reference=name,
        engine="buildkit",
        secrets=[secret],
        network="host",
        use_cache=False,
        labels=TEST_LABEL,
    )

    assert output_of(name, "import acme_sauce; print(acme_sauce.TASTE)") == f"hot {MARK}"
    whole = everything_of(name)
    assert b"acme_sauce" in whole
    login = base64.b64encode(f"builder:{PASSWORD}".encode())
    for form in (PASSWORD.encode(), IN_A_URL.encode(), login):
        assert form not in whole
    assert unchecked(plan) == []


@pytest.mark.parametrize("login", ["", "builder:wrong@"])
def test_without_the_right_login_the_error_says_how_to_give_it(
    index: Index, plan: ImagePlan, store: Store, *, name: str, login: str, tmp_path: Path
) -> None:
    file = tmp_path / "pip.conf"
    file.write_text(f"[global]\nextra-index-url = http://{login}{index.host}/simple\n")

    with pytest.raises(EngineError) as caught:
        build_image(
            plan,
            store,
            reference=name,
            engine="buildkit",
            secrets=[BuildSecret("pip.conf", file)],
            network="host",
            use_cache=False,
            labels=TEST_LABEL,
        )

    assert f"{index.host}" in caught.value.message
    assert "wants another login than it was given" in caught.value.message
    assert "--secret id=netrc,src=FILE" in (caught.value.hint or "")


@pytest.mark.parametrize("secret", ["pip.conf"], indirect=True)
def test_an_image_that_holds_the_password_is_removed_again(
    index: Index, store: Store, project: Path, secret: BuildSecret, name: str
) -> None:
    careless = planned(index, store, project, f"{SERVICE}\nLOGIN = 'builder:{PASSWORD}'\n")

    with pytest.raises(SecretFoundError) as caught:
        build_image(
            careless,
            store,
            reference=name,
            engine="buildkit",
            secrets=[secret],
            network="host",
            labels=TEST_LABEL,
        )

    assert re.match(
        r"the image would hold the secret 'pip\.conf' in layer \d+, 'bundle/code/sauce_\w+\.py'$",
        caught.value.message,
    )
    assert PASSWORD not in f"{caught.value.message}{caught.value.hint}"
    with connect() as engine:
        assert not engine.images(name)
    assert unchecked(careless) == []


def unchecked(plan: ImagePlan) -> list[str]:
    """Return what is left of a bundle's images under the name that they have until searched."""
    of_the_bundle = {"label": f"dev.modelpack.tag={plan.entry.tag}"}
    with connect() as engine:
        return list(engine.images("modelpack-unchecked", quiet=True, filters=of_the_bundle))


@pytest.mark.parametrize("secret", ["netrc"], indirect=True)
def test_the_classic_builder_is_given_no_secret(
    plan: ImagePlan, store: Store, secret: BuildSecret
) -> None:
    with pytest.raises(RefusedError, match="would write the secrets into") as caught:
        build_image(plan, store, engine="docker", secrets=[secret])

    assert "buildx" in (caught.value.hint or "")
