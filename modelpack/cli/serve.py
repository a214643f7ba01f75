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
from modelpack.cli.options import DevicesOption, ReplicasOption, RunnerOption, ThreadsOption
from modelpack.errors import UsageError, WrappedProgramError

if TYPE_CHECKING:
    from modelpack.config.layers import Layer
    from modelpack.config.settings import ServerSettings
    from modelpack.frameworks.source import Source
    from modelpack.server.life.record import RunRecord
    from modelpack.tag import Tag


def serve(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="folder, module:Class, model.onnx or TAG; default: the project in this folder",
        ),
    ] = None,
    *,
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
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", help="processes that read requests (1)"),
    ] = None,
    replicas: ReplicasOption = None,
    runner: RunnerOption = None,
    devices: DevicesOption = None,
    threads: ThreadsOption = None,
    metrics_port: Annotated[
        int | None,
        typer.Option("--metrics-port", metavar="PORT", help="port for /metrics (the same)"),
    ] = None,
    grpc_port: Annotated[
        int | None,
        typer.Option("--grpc-port", metavar="PORT", help="port for gRPC; 0: a free one (none)"),
    ] = None,
    face: Annotated[
        str | None,
        typer.Option("--face", metavar="LIST", help="contracts to speak, such as oip,kserve (all)"),
    ] = None,
    tasks: Annotated[
        bool | None,
        typer.Option("--tasks/--no-tasks", help="take calls as tasks, to be answered later (no)"),
    ] = None,
    admin_socket: Annotated[
        Path | None,
        typer.Option(
            "--admin-socket", metavar="PATH", help="Unix socket on which the server is managed"
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option("--tls-cert", metavar="FILE", help="certificate chain; then it speaks TLS"),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option("--tls-key", metavar="FILE", help="private key, if it is not in that file"),
    ] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(
            "--tls-client-ca", metavar="FILE", help="authorities that clients must be known to"
        ),
    ] = None,
    reload: Annotated[
        bool,
        typer.Option("--reload", help="load the code anew when it changes; for development"),
    ] = False,
    no_code_models: Annotated[
        bool,
        typer.Option("--no-code-models", help="refuse models that run code as they are loaded"),
    ] = False,
) -> None:
    """
    $ modelpack serve --reload
    $ modelpack serve digits:latest --port 8080 --workers 2

    Serve a project, a bare model or a bundle over HTTP.

    A bundle is served in a clean environment that holds what it was locked with. 'a:b' is taken for
    module:Class when a is a module in this folder, or when b starts like a class and no bundle is
    named a; else for the TAG of a bundle. Serving runs the code of the project or bundle; the policy
    file may ask for a signature of a bundle first.

    On a terminal the logs are text, else JSON; MODELPACK_LOG_FORMAT chooses. Every other setting is
    in modelpack.yaml or a MODELPACK_ variable. 'modelpack servers' shows and changes what runs.
    """
    # Its Linux wheel sends telemetry unless this is set before anything imports it.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    from modelpack.cli.source import BundleSource, ModelSource, ProjectSource, source_of
    from modelpack.server.life.stopping import leave
    from modelpack.server.runners.threads import calls_are_running

    flags = Flags(
        host=host,
        port=port,
        workers=workers,
        replicas=replicas,
        runner=runner,
        devices=devices,
        threads=threads,
        metrics_port=metrics_port,
        grpc_port=grpc_port,
        faces=face,
        tasks=tasks,
        admin_socket=_absolute(admin_socket),
        tls_cert=_absolute(tls_cert),
        tls_key=_absolute(tls_key),
        tls_client_ca=_absolute(tls_client_ca),
    )
    if no_code_models and reload:
        raise UsageError("--no-code-models looks once", hint="leave --reload out")
    match source_of(source):
        case ProjectSource(folder, service):
            status = _serve_project(
                folder, service, flags, reload=reload, no_code_models=no_code_models
            )
        case ModelSource(file):
            status = _serve_model(file, flags, reload=reload)
        case BundleSource(tag):
            if reload:
                raise UsageError("a bundle does not change", hint="leave --reload out")
            status = _serve_bundle(tag, flags, no_code_models=no_code_models)
    if calls_are_running():
        leave(status)
    raise typer.Exit(status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What the flags say, by the names of the settings; None: nothing."""

    host: str | None = None
    port: int | None = None
    workers: int | None = None
    replicas: int | None = None
    runner: str | None = None
    devices: str | None = None
    threads: int | None = None
    metrics_port: int | None = None
    grpc_port: int | None = None
    faces: str | None = None
    tasks: bool | None = None
    admin_socket: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_client_ca: str | None = None


def _absolute(path: Path | None) -> str | None:
    """Return the path as any process finds it."""
    return None if path is None else str(path.absolute())


def _serve_project(
    folder: Path, service: str | None, flags: Flags, *, reload: bool, no_code_models: bool
) -> int:
    from modelpack.config.layers import project_layer
    from modelpack.config.load import load_project
    from modelpack.frameworks.source import Source

    project = load_project(folder)
    settings = settings_for(project_layer(project, "server"), flags)
    source = Source("code", service or project.service or "", str(project.root))
    if no_code_models:
        _refuse_code_models(source)
    return _run(source, settings, folder=project.root, reload=reload)


def _refuse_code_models(source: Source) -> None:
    """Look at the models that the service names, before any is loaded; raises CodeModelError."""
    from modelpack.store import Kind, Store
    from modelpack.trust.gate import refuse_code_models

    store = Store()
    for model in source.open().models.values():
        refuse_code_models(store, store.find(model.tag, Kind.MODEL))


def _serve_model(file: Path, flags: Flags, *, reload: bool) -> int:
    from modelpack.config.layers import Layer
    from modelpack.frameworks.source import Source

    settings = settings_for(Layer(), flags)
    file = file.absolute()
    source = Source("model", file.name, str(file.parent))
    return _run(source, settings, folder=file.parent, reload=reload)


def _run(source: Source, settings: ServerSettings, *, folder: Path, reload: bool) -> int:
    """Serve in this process, or under its supervision."""
    from modelpack import server
    from modelpack.cli.announce import announce, announce_from_outside, first_call
    from modelpack.sdk.openapi import openapi_document
    from modelpack.server.faces.registry import spoken

    companion = None
    if reload:
        from modelpack.cli.reload import Reloader, for_reload

        settings = for_reload(settings)
        companion = Reloader(source).run
    # Of several workers each loads the service, and the main process does without it.
    spec = source.open() if settings.workers == 1 else None

    def on_ready(url: str) -> None:
        where = _where(folder)
        if spec is None:
            announce_from_outside(url, where)
        else:
            call = first_call(openapi_document(spec, ""))
            announce(url, call, spoken(settings), folder=where)

    return server.run(
        spec,
        settings,
        on_ready=on_ready,
        source=source,
        record=_run_record(),
        companion=companion,
    )


def _run_record() -> RunRecord | None:
    """Return where the server notes itself; None when there is no place for that."""
    from modelpack import paths
    from modelpack.deploy.records import make_private
    from modelpack.server.life.record import RunRecord

    try:
        return RunRecord.at(make_private(paths.run_dir()) / f"{os.getpid()}.json")
    except OSError:
        return None


def _serve_bundle(tag: Tag, flags: Flags, *, no_code_models: bool) -> int:
    """Become the server of a bundle; returns only when that fails."""
    from modelpack import trust
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
    if manifest.program is not None:
        raise WrappedProgramError(entry.tag, entry.tag)
    recorded = recorded_settings(ServerSettings, manifest.settings)
    settings = _with_whole_paths(settings_for(bundle_layer(recorded, entry.tag), flags))
    console.note(f"bundle '{entry.tag}', {entry.digest[:19]}")
    trust.check(store, entry, "serve", refuses_code_models=no_code_models)
    if models := ", ".join(str(model) for model in trust.code_models(store, entry)):
        console.warn(f"serve it only if you trust it, models run code as they are loaded: {models}")
    bundle = unpacked(store, entry)
    python = ensure_environment(
        store.lock_text(entry), manifest.python, console.Steps(), wheels=bundle / "wheels"
    )
    # Whoever listens there already would be announced in place of this service.
    with listen_on(settings.host, settings.port) as probe:
        settings = replace(settings, port=probe.getsockname()[1])
        url = url_of(probe, is_tls=settings.tls_cert is not None)
    announce_from_outside(url, Path.cwd())
    os.chdir(bundle)
    environment = _environment(settings, bundle, str(entry.tag))
    os.execve(python, [str(python), "-I", "-m", "modelpack.server"], environment)  # noqa: S606


def _with_whole_paths(settings: ServerSettings) -> ServerSettings:
    """Return the settings with paths that mean the same in another folder."""

    def whole(path: str | None) -> str | None:
        return _absolute(Path(path)) if path and "://" not in path else path

    return replace(
        settings,
        admin_socket=whole(settings.admin_socket),
        tasks_store=whole(settings.tasks_store),
        tls_cert=whole(settings.tls_cert),
        tls_key=whole(settings.tls_key),
        tls_client_ca=whole(settings.tls_client_ca),
    )


def _environment(settings: ServerSettings, bundle: Path, tag: str) -> dict[str, str]:
    """Return this process's variables, with what the server is told laid over them."""
    from modelpack.config.settings import settings_to_env

    inherited = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    record = _run_record()
    return {
        **inherited,
        **({"MODELPACK_RUN_RECORD": str(record.file)} if record is not None else {}),
        **settings_to_env(settings),
        "MODELPACK_BUNDLE": str(bundle),
        "MODELPACK_TAG": tag,
    }


def settings_for(own: Layer, flags: Flags) -> ServerSettings:
    """Lay user file, ``own``, environment and flags over each other; raises UsageError."""
    from modelpack.config.layers import server_settings

    return server_settings(own, asdict(flags)).settings


def _where(folder: Path) -> Path:
    """Return the folder whose example the user can name as ``@example.json``: the current one."""
    return folder if folder.resolve() == Path.cwd() else Path.cwd()
