"""``modelpack serve``: a service that answers, from a project, a model or a bundle.

project, module:Class, model.onnx ──► this process   modelpack.server.run
bundle ──unpack, environment──► a clean process       python -I -m modelpack.server, in our place
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelpack.cli import console

if TYPE_CHECKING:
    from modelpack.config.layers import Layer
    from modelpack.config.settings import ServerSettings
    from modelpack.sdk.service import ServiceSpec
    from modelpack.tag import Tag


def serve(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="folder, module:Class, model.onnx or TAG; default: the project in this folder",
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option("--host", metavar="HOST", help="address to listen on (127.0.0.1)"),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "-p", "--port", metavar="PORT", help="port to listen on (3000); 0: a free one"
        ),
    ] = None,
) -> None:
    """
    $ modelpack serve
    $ modelpack serve digits:latest --port 8080

    Serve a project, a bare model or a bundle over HTTP.

    A bundle is served in a clean environment that holds what it was locked with. 'a:b' is taken for
    module:Class when a is a module in this folder, or when b starts like a class and no bundle is
    named a; else for the TAG of a bundle. Serving runs the code of the project or bundle.

    On a terminal the logs are text, else JSON; MODELPACK_LOG_FORMAT chooses.
    """
    # Its Linux wheel sends telemetry unless this is set before anything imports it.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    from modelpack.cli.source import BundleSource, ModelSource, ProjectSource, source_of

    flags = Address(host, port)
    match source_of(source):
        case ProjectSource(folder, service):
            status = _serve_project(folder, service, flags)
        case ModelSource(file):
            status = _serve_model(file, flags)
        case BundleSource(tag):
            status = _serve_bundle(tag, flags)
    raise typer.Exit(status)


@dataclass(frozen=True, slots=True)
class Address:
    """What the flags say; None: nothing."""

    host: str | None = None
    port: int | None = None


def _serve_project(folder: Path, service: str | None, flags: Address) -> int:
    from modelpack.cli.project import service_of
    from modelpack.config.layers import project_layer
    from modelpack.config.load import load_project

    project = load_project(folder)
    settings = settings_for(project_layer(project, "server"), flags)
    return _run(service_of(project, service), settings, folder=project.root)


def _serve_model(file: Path, flags: Address) -> int:
    from modelpack.config.layers import Layer
    from modelpack.frameworks.zero import service_from_model

    settings = settings_for(Layer(), flags)
    return _run(service_from_model(file), settings, folder=file.parent)


def _run(spec: ServiceSpec, settings: ServerSettings, *, folder: Path) -> int:
    from modelpack import server
    from modelpack.cli.announce import announce, first_call
    from modelpack.sdk.openapi import openapi_document

    def on_ready(url: str) -> None:
        announce(url, first_call(openapi_document(spec, "")), folder=_where(folder))

    return server.run(spec, settings, on_ready=on_ready)


def _serve_bundle(tag: Tag, flags: Address) -> int:
    """Become the server of a bundle; returns only when that fails."""
    from modelpack.archive import ensure_environment
    from modelpack.cli.announce import announce_from_outside
    from modelpack.config.layers import bundle_layer
    from modelpack.config.settings import ServerSettings, recorded_settings
    from modelpack.embed import unpacked
    from modelpack.server.http.listening import listen_on, url_of
    from modelpack.store import Kind, Store

    store = Store()
    entry = store.find(tag, Kind.BUNDLE)
    manifest = store.bundle_manifest(entry)
    recorded = recorded_settings(ServerSettings, manifest.settings)
    settings = settings_for(bundle_layer(recorded, entry.tag), flags)
    console.note(f"bundle '{entry.tag}', {entry.digest[:19]}")
    if manifest.carries_code:
        console.warn("its models run code as they are loaded: serve it only if you trust it")
    bundle = unpacked(store, entry)
    python = ensure_environment(store.lock_text(entry), manifest.python, console.Steps())
    # Whoever listens there already would be announced in place of this service.
    with listen_on(settings.host, settings.port) as probe:
        settings, url = replace(settings, port=probe.getsockname()[1]), url_of(probe)
    announce_from_outside(url, Path.cwd())
    os.chdir(bundle)
    environment = _environment(settings, bundle, str(entry.tag))
    os.execve(python, [str(python), "-I", "-m", "modelpack.server"], environment)  # noqa: S606


def _environment(settings: ServerSettings, bundle: Path, tag: str) -> dict[str, str]:
    """Return this process's variables, with what the server is told laid over them."""
    from modelpack.config.settings import settings_to_env

    inherited = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    return {
        **inherited,
        **settings_to_env(settings),
        "MODELPACK_BUNDLE": str(bundle),
        "MODELPACK_TAG": tag,
    }


def settings_for(own: Layer, flags: Address) -> ServerSettings:
    """Lay user file, ``own``, environment and flags over each other; raises UsageError."""
    from modelpack.config.layers import server_settings

    return server_settings(own, asdict(flags)).settings


def _where(folder: Path) -> Path:
    """Return the folder whose example the user can name as ``@example.json``: the current one."""
    return folder if folder.resolve() == Path.cwd() else Path.cwd()
