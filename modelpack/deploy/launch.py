"""Makes a bundle ready to run on this machine, and starts the supervisor that runs it.

    store ──unpack──► run/deployments/NAME/SHA256/bundle ─┐
    lock  ──ensure_environment──► python of a clean venv ─┴─► Command ──launch──► supervisor

Only the service runs the bundle's code, and it sees an environment that is made here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Protocol

import modelpack
from modelpack.config.settings import ServerSettings, recorded_settings, settings_from_env
from modelpack.deploy.bundles import find_bundle
from modelpack.deploy.command import Command
from modelpack.deploy.process import ProcessId
from modelpack.deploy.spec import DeploymentSpec
from modelpack.errors import DeployError, UsageError
from modelpack.progress import Progress

PASSED_ON = (
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
)
"""Variables of the caller that a service sees; nothing else of a shell leaks into it."""

_LAUNCH_S = 60.0
_GRACE_MARGIN_S = 5.0


class Prepare(Protocol):
    """Makes what a spec asks for ready to run, in a folder of the deployment; safe to repeat."""

    def __call__(
        self, spec: DeploymentSpec, port: int, folder: Path, progress: Progress
    ) -> Command:
        """Return the command that serves it at the host of the spec and that port."""


def prepare_bundle(spec: DeploymentSpec, port: int, folder: Path, progress: Progress) -> Command:
    """Unpack the bundle and make its environment, both only when they are not there yet.

    Raises BundleNotFoundError, ConflictError when the tag stands for another bundle by now,
    UsageError for a port for gRPC where none is spoken, and
    what the store and the environment raise.
    """
    from modelpack.archive.environment import ensure_environment
    from modelpack.store import Store

    store = Store()
    entry = find_bundle(store, spec)
    with progress.step(f"unpack {spec.bundle}"):
        bundle = store.unpack(entry, folder / entry.digest.replace(":", "-"), exist_ok=True)
    manifest = store.bundle_manifest(entry)
    python = ensure_environment(
        store.lock_text(entry), manifest.python, progress, wheels=bundle / "wheels"
    )
    env = service_env(spec, port, bundle)
    settings = settings_from_env(recorded_settings(ServerSettings, manifest.settings), env)
    grpc_port = _grpc_port(spec, settings)
    if settings.grpc_port is not None:
        env["MODELPACK_GRPC_PORT"] = "0"  # of its own: the one that is called is kept for all
    if settings.tasks and settings.tasks_store is None:
        env["MODELPACK_TASKS_STORE"] = str(folder / "tasks.sqlite")  # of all replicas and revisions
    return Command(
        argv=(str(python), "-I", "-u", "-m", "modelpack.server"),
        env=env,
        cwd=str(bundle),
        grace_s=settings.grace_s + _GRACE_MARGIN_S,
        secrets=dict(spec.settings.secrets),
        grpc_port=grpc_port,
        alone=f"metrics_port {settings.metrics_port}" if settings.metrics_port else "",
    )


def _grpc_port(spec: DeploymentSpec, settings: ServerSettings) -> int | None:
    """Return the port at which gRPC is called besides that of the deployment; raises UsageError."""
    wanted = spec.settings.grpc_port
    if settings.grpc_port is None:
        if wanted is not None:
            raise UsageError(
                f"deploy.grpc_port: '{spec.bundle}' speaks no gRPC",
                hint="set 'grpc_port' below 'server' in modelpack.yaml, and build it again",
            )
        return None
    return wanted or settings.grpc_port or None


def service_env(spec: DeploymentSpec, port: int, bundle: Path) -> dict[str, str]:
    """Return the whole environment of the service."""
    env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    env["ORT_DISABLE_TELEMETRY"] = "1"
    env |= spec.settings.env
    env["MODELPACK_BUNDLE"] = str(bundle)
    env["MODELPACK_TAG"] = spec.bundle
    env["MODELPACK_HOST"] = spec.settings.host
    env["MODELPACK_PORT"] = str(port)
    return env


def launch(name: str, folder: Path) -> ProcessId:
    """Start the supervisor of the deployment in ``folder``; raises DeployError.

    It has let go of this process's terminal, session and pipes when this returns.
    """
    argv = [sys.executable, "-P", "-m", "modelpack.deploy.supervisor", name]
    try:
        done = subprocess.run(
            argv,
            env=_supervisor_env(),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LAUNCH_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as cause:
        raise DeployError(f"the supervisor of '{name}' did not start: {cause}") from cause
    process = ProcessId.of(int(done.stdout)) if done.stdout.strip().isdigit() else None
    if process is None:
        why = (done.stderr.strip().splitlines() or ["it ended at once"])[-1]
        raise DeployError(f"the supervisor of '{name}' did not start: {why}")
    return process


def _supervisor_env() -> dict[str, str]:
    env = dict(os.environ)
    checkout = Path(modelpack.__path__[0]).parent
    installed = {Path(sysconfig.get_path(key)) for key in ("purelib", "platlib")}
    if checkout not in installed:
        env["PYTHONPATH"] = str(checkout)
    return env
