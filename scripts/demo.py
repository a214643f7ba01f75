"""Goes the whole way on real data, as a user would: ``make demo``.

    init ─► train ─► serve ─► build ─► serve the bundle ─► containerize ─► deploy ─► destroy

Each command is printed before it runs, and what comes out of it is checked: the answers over HTTP
are compared, row by row, with those of the model in this process.  The first thing that is wrong
ends the demo with status 1.

Everything happens in ``.demo/``, or in the new folder that is given as an argument, with a store
of its own, which stays there to be looked at.
Whatever was started is ended.  Without a container engine the Dockerfile and the plan are written,
the deployment is a local one, and the last line names what was not run.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from docker import APIClient

ROOT = Path(__file__).parents[1]
FOLDER = Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else ROOT / ".demo"
PROJECT = FOLDER / "digits"
CLIENTS = 32
PATIENCE_S = 120.0
DEPLOYMENT = "digits-demo"
"""Not 'digits': an engine may hold one of that name which is not ours."""


class Wrong(Exception):
    """Something came out otherwise than promised."""


def main() -> int:
    """Run the demo and return its exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if FOLDER == ROOT / ".demo":  # anything else that is there is not ours to remove
        shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    set_environment()
    try:
        not_run = go_the_whole_way()
    except Wrong as wrong:
        say(f"\ndemo: {wrong}")
        return 1
    except KeyboardInterrupt:
        say("\ndemo: interrupted")
        return 130
    say(f"\ndemo: all that was promised happened; the project is in {PROJECT}")
    if not_run:
        say(f"demo: not run: {not_run}")
    return 0


def set_environment() -> None:
    """Give the commands a home of their own, and nothing of the caller's settings."""
    for variable in [name for name in os.environ if name.startswith("MODELPACK_")]:
        del os.environ[variable]
    os.environ["MODELPACK_HOME"] = str(FOLDER / "home")
    os.environ["MODELPACK_CACHE"] = str(FOLDER / "cache")
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def go_the_whole_way() -> str | None:
    """Return what could not be run on this machine, or None."""
    title("A project, and a model trained on 1347 handwritten digits")
    run("modelpack init digits --template onnx", cwd=FOLDER)
    run("python train.py")
    held_out = HeldOut.read()

    title("Serve it")
    with serving("modelpack serve --port 0") as url:
        call_with_curl(url)
        held_out.ask(url)

    title("Build a bundle, twice")
    tag = run("modelpack build").strip()
    check(re.fullmatch(r"digits:[0-9a-f]{12}", tag) is not None, f"'{tag}' is no tag")
    check(run("modelpack build").strip() == tag, "the second build gave another tag")
    run("modelpack list")
    run("modelpack inspect digits")
    run("modelpack models list")

    title("Serve the bundle, in an environment that holds only what its lock names")
    with serving("modelpack serve digits:latest --port 0") as url:
        held_out.ask(url)

    run("modelpack containerize --plan")
    if (why := engine_missing(tag)) is not None:
        title("Without an engine: the Dockerfile with its context, and a local deployment")
        run("modelpack containerize --dockerfile ../context")
        check((FOLDER / "context" / "Dockerfile").is_file(), "no Dockerfile was written")
        deploy(held_out, "local")
        return f"building the image and deploying it with the target 'docker' ({why})"

    title("Make an image, and deploy it")
    base = os.environ.get("ENGINE_BASE_IMAGE")
    with image_taken_away(tag):
        run("modelpack containerize" + (f" --base {base}" if base else ""))
        deploy(held_out, "docker")
    return None


def deploy(held_out: HeldOut, target: str) -> None:
    """Deploy the last build, ask it, look at it, take it away."""
    command = f"modelpack deploy --target {target} --name {DEPLOYMENT} --port 0"
    run(f"{command} --plan")
    try:
        held_out.ask(url_in(run(f"{command} --yes")))
        check(DEPLOYMENT in deployments(), "the deployment is not listed")
        run("modelpack deployments list")
        run(f"modelpack deployments logs {DEPLOYMENT}")
    except BaseException:
        with suppress(Wrong):  # what went wrong first is what counts
            quietly(f"modelpack deployments destroy {DEPLOYMENT} --yes")
        raise
    run(f"modelpack deployments destroy {DEPLOYMENT} --yes")
    check(DEPLOYMENT not in deployments(), "the deployment is still there")


def deployments() -> list[str]:
    """Return the names of all deployments that can be seen from here."""
    return [row["name"] for row in json.loads(quietly("modelpack deployments list -o json"))]


class HeldOut:
    """The digits that training did not see, and what the model in this process says of them."""

    def __init__(
        self, images: Sequence[Any], truth: Sequence[int], expected: Sequence[int]
    ) -> None:
        self.images = images
        self.truth = truth
        self.expected = expected

    @classmethod
    def read(cls) -> HeldOut:
        """Take the split from the project's own ``train.py`` and the model from the store."""
        import modelpack

        _, images, _, truth = runpy.run_path(str(PROJECT / "train.py"))["split"]()
        model = modelpack.models.load("digits-clf:latest")
        return cls(images, truth, [int(model(row[None])["label"][0]) for row in images])

    def ask(self, url: str) -> None:
        """Ask the service for every image, with many clients at once, and compare by index."""
        local = threading.local()

        def one(image: Any) -> int:
            if not hasattr(local, "client"):
                local.client = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
            body = json.dumps({"x": [image.tolist()]})
            local.client.request("POST", "/predict", body, {"content-type": "application/json"})
            answer = local.client.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise Wrong(f"{url}/predict answered {answer.status}: {text.decode()}")
            return int(json.loads(text)["label"][0])

        with ThreadPoolExecutor(CLIENTS) as clients:
            labels = list(clients.map(one, self.images))
        different = [i for i, label in enumerate(labels) if label != self.expected[i]]
        check(not different, f"the answers for the rows {different} are not those of the model")
        right = sum(int(a == b) for a, b in zip(labels, self.truth, strict=True))
        say(
            f"  {len(labels)} answers over HTTP to {CLIENTS} clients at once, each the model's own; "
            f"{right / len(labels):.1%} of them right"
        )


def call_with_curl(url: str) -> None:
    """Send the example as the README says, where there is a curl."""
    command = f"curl -s {url}/predict -H 'content-type: application/json' -d @example.json"
    if shutil.which("curl"):
        answer = json.loads(run(command))
        check(len(answer["label"]) == 1, "curl got no label")


# --- the engine ---------------------------------------------------------------------------------


def engine_missing(tag: str) -> str | None:
    """Return why no image can be built here, or None."""
    from docker.errors import DockerException, ImageNotFound

    from modelpack.config.settings import ImageSettings
    from modelpack.errors import ModelpackError
    from modelpack.image import connect, plan_image
    from modelpack.store import Kind, Store
    from modelpack.tag import Tag

    store = Store()
    plan = plan_image(store, store.find(Tag.parse(tag), Kind.BUNDLE), ImageSettings())
    base = os.environ.get("ENGINE_BASE_IMAGE", plan.base.image)
    try:
        with connect() as engine:
            try:
                engine.inspect_image(base)
            except ImageNotFound:
                engine.pull(base)
                engine.inspect_image(base)
    except ModelpackError as missing:
        return missing.message
    except (DockerException, OSError):
        return f"the engine cannot get '{base}'; name one that it has with ENGINE_BASE_IMAGE"
    return None


@contextmanager
def image_taken_away(tag: str) -> Iterator[None]:
    """Leave the engine as it was: remove the image, unless it was there before."""
    from docker.errors import ImageNotFound

    from modelpack.image import connect

    with connect() as engine:
        try:
            engine.inspect_image(tag)
            is_ours = False
        except ImageNotFound:
            is_ours = True
        try:
            yield
        finally:
            if is_ours:
                remove_image(engine, tag)


def remove_image(engine: APIClient, tag: str) -> None:
    """Remove an image, or say why it stays."""
    from docker.errors import DockerException, ImageNotFound

    try:
        engine.remove_image(tag)
    except ImageNotFound:
        pass  # it was never built
    except DockerException as cause:
        say(f"  the image '{tag}' stays: {cause}")


# --- commands -----------------------------------------------------------------------------------


def run(command: str, cwd: Path = PROJECT) -> str:
    """Run a command, show it and what it prints, and return its standard output."""
    say(f"$ {command}")
    output = quietly(command, cwd)
    if output:
        say(output.rstrip("\n"))
    return output


def quietly(command: str, cwd: Path = PROJECT) -> str:
    """Run a command and return its standard output; what it notes is shown."""
    done = subprocess.run(
        shlex.split(command), cwd=cwd, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        raise Wrong(f"'{command}' ended with status {done.returncode}")
    return done.stdout


@contextmanager
def serving(command: str) -> Iterator[str]:
    """Run a server until the block ends; gives its URL once it is ready."""
    say(f"$ {command} &")
    started = time.monotonic()
    output = FOLDER / "serve.log"
    with output.open("w") as log:
        server = subprocess.Popen(
            shlex.split(command), cwd=PROJECT, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        url = wait_until_ready(server, output, started + PATIENCE_S)
        say(output.read_text().rstrip("\n"))
        say(f"  ready after {time.monotonic() - started:.1f} s")
        yield url
    finally:
        server.terminate()
        try:
            status = server.wait(timeout=60)
        except subprocess.TimeoutExpired:
            server.kill()
            status = server.wait()
    check(status == 0, f"the server ended with status {status}")


def wait_until_ready(server: subprocess.Popen[bytes], output: Path, deadline: float) -> str:
    """Return the URL on the last line that the server prints when it takes requests."""
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise Wrong(f"the server ended with status {server.returncode}:\n{output.read_text()}")
        if url := re.search(r"or open: +(http://[\d.]+:\d+)", output.read_text()):
            return url[1]
        time.sleep(0.05)
    raise Wrong(f"the server was not ready in time:\n{output.read_text()}")


def url_in(text: str) -> str:
    """Return the first URL of a text."""
    url = re.search(r"http://[\d.]+:\d+", text)
    if url is None:
        raise Wrong(f"no URL in '{text}'")
    return url[0]


def check(is_true: bool, otherwise: str) -> None:
    """Go on only if something is as promised."""
    if not is_true:
        raise Wrong(otherwise)


def title(text: str) -> None:
    """Begin a part."""
    say(f"\n# {text}")


def say(text: str) -> None:
    """Print a line now, in its place among what the commands print."""
    print(text, flush=True)  # noqa: T201 - its output is what it is for


if __name__ == "__main__":
    sys.exit(main())
