"""A small service that deployments of the tests run, as a process and as an image."""

from __future__ import annotations

import io
import os
import socket
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelpack.deploy import DeploymentSpec, DeploySettings, Progress, Target

if TYPE_CHECKING:
    from tests.deploy.supervised import Run
    from tests.deploy.traffic import TrafficImages

SERVICE = Path(__file__).parent / "service" / "service.py"


class Notes:
    """Remembers what a long step said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)

    def step(self, text: str) -> AbstractContextManager[None]:
        self.lines.append(text)
        return nullcontext()


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def make_spec() -> Callable[..., DeploymentSpec]:
    """Make specs of one deployment; keywords that are settings go there, capitals to the env."""

    def make(version: str = "a", *, name: str = "digits", image: str | None = None, **more):
        env = {key: more.pop(key) for key in list(more) if key.isupper()}
        settings = DeploySettings(**{"port": 0, "ready_timeout_s": 20.0, **more}, env=env)
        return DeploymentSpec(
            name=name,
            bundle=f"digits:{version}",
            digest="sha256:" + (version.encode().hex() * 64)[:64],
            image=image,
            settings=settings,
        )

    return make


def prepare_service(spec: DeploymentSpec, port: int, folder: Path, progress: Progress):
    """Stand in for unpacking a bundle: the command runs the small service."""
    from modelpack.deploy.command import Command
    from modelpack.deploy.launch import service_env

    bundle = folder / spec.digest.replace(":", "-") / "bundle"
    bundle.mkdir(parents=True, exist_ok=True)
    return Command(
        argv=(sys.executable, "-I", "-u", str(SERVICE)),
        env=service_env(spec, port, bundle),
        cwd=str(bundle),
        grace_s=1.0,
        secrets=dict(spec.settings.secrets),
    )


@pytest.fixture
def local() -> Target:
    """The local target, running the small service in place of a bundle."""
    from modelpack.deploy.local import LocalTarget

    return LocalTarget(prepare_service)


@pytest.fixture
def run() -> Iterator[Callable[..., Run]]:
    """Start supervisors over small programs; they are ended afterwards."""
    from tests.deploy.supervised import Run

    started: list[Run] = []

    def start(program: str, **more: object) -> Run:
        started.append(Run(program, **more))
        return started[-1]

    yield start
    for one in started:
        one.supervisor.stop(5)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def service_image() -> Iterator[Callable[[str, str], None]]:
    """Build images of the small service, labelled with the bundle they stand for."""
    from modelpack.image import connect

    made: list[str] = []

    def build(reference: str, digest: str) -> None:
        text = "\n".join(
            [
                f"FROM {os.environ['ENGINE_BASE_IMAGE']}",
                "COPY service.py /service.py",
                "ENV MODELPACK_PORT=3000",
                "USER 65532:65532",
                "STOPSIGNAL SIGTERM",
                'ENTRYPOINT ["python", "-u", "/service.py"]',
            ]
        )
        context = io.BytesIO()
        with tarfile.open(fileobj=context, mode="w") as tar:
            for name, data in (("Dockerfile", text.encode()), ("service.py", SERVICE.read_bytes())):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        context.seek(0)
        labels = {"dev.modelpack.bundle.digest": digest, "dev.modelpack.test": "1"}
        with connect() as engine:
            events = engine.build(
                fileobj=context,
                custom_context=True,
                tag=reference,
                rm=True,
                forcerm=True,
                decode=True,
                labels={key: value for key, value in labels.items() if value},
            )
            said = [str(event) for event in events]
            made.append(engine.inspect_image(reference)["Id"])
            assert made, said

    yield build
    with connect() as engine:
        for image in dict.fromkeys(made):
            engine.remove_image(image, force=True)


@pytest.fixture(scope="session")
def traffic_images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrafficImages]:
    """Images of a real service, made when they are asked for."""
    from tests.deploy.traffic import TrafficImages

    images = TrafficImages(tmp_path_factory.mktemp("traffic"))
    yield images
    images.remove()
