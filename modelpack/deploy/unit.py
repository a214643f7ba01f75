"""A local deployment as a unit of systemd: a service of the user that starts with the machine.

    DeploymentSpec ──unit_files──► modelpack-NAME.service

Pure but for the Python that it names, which is this one.  The unit runs ``modelpack serve`` on the
bundle of the store, waits until it says that it is ready (sd_notify), starts it again when it ends,
and holds it to the limits that a plain local deployment only notes.  Values of secrets are in a
file that only the user may read and the unit only names.

Sources: systemd.service(5), systemd.exec(5), systemd.resource-control(5); quoting and specifiers:
systemd.syntax(7), systemd.unit(5).
"""

from __future__ import annotations

import re
import sys

from modelpack.config.settings import ServerSettings, settings_from_env
from modelpack.deploy.spec import DeploymentSpec

_PLAIN = re.compile(r"[A-Za-z0-9_./:=+@,-]+")
_GRACE_MARGIN_S = 5


def unit_files(spec: DeploymentSpec, python: str = sys.executable) -> dict[str, bytes]:
    """Return the unit by its name; the same spec gives the same bytes."""
    return {f"modelpack-{spec.name}.service": "\n".join([*_lines(spec, python), ""]).encode()}


def _lines(spec: DeploymentSpec, python: str) -> list[str]:
    settings = spec.settings
    name = f"modelpack-{spec.name}"
    command = [python, "-m", "modelpack", "serve", spec.bundle]
    command += ["--host", settings.host, "--port", str(settings.port)]
    grace_s = settings_from_env(ServerSettings(), settings.env).grace_s
    lines = [
        f"# systemctl --user link $PWD/{name}.service",
        f"# systemctl --user enable --now {name}",
        "# loginctl enable-linger          (it then runs without anybody being logged in)",
        "[Unit]",
        f"Description=modelpack deployment {spec.name} ({spec.bundle})",
        "",
        "[Service]",
        "Type=notify",
        "NotifyAccess=all",
        f"ExecStart={' '.join(_argument(one) for one in command)}",
        f"TimeoutStartSec={settings.ready_timeout_s:g}",
        f"TimeoutStopSec={grace_s + _GRACE_MARGIN_S:g}",
        "Restart=always",
        "RestartSec=1",
        "KillMode=mixed",
        "Environment=ORT_DISABLE_TELEMETRY=1 MODELPACK_LOG_FORMAT=json",
        *(f"Environment={_word(f'{key}={value}')}" for key, value in sorted(settings.env.items())),
    ]
    if settings.secrets:
        names = " ".join(sorted(settings.secrets))
        lines.append(f"# NAME=value lines for {names}, mode 0600:")
        lines.append(f"EnvironmentFile=%h/.config/modelpack/{spec.name}.env")
    if settings.cpu is not None:
        lines.append(f"CPUQuota={settings.cpu * 100:g}%")
    if settings.memory_bytes is not None:
        lines += [f"MemoryMax={settings.memory_bytes}", "MemorySwapMax=0"]
    return [*lines, "NoNewPrivileges=yes", "", "[Install]", "WantedBy=default.target"]


def _argument(text: str) -> str:
    """Return one word of a command, in which nothing is expanded."""
    return _word(text.replace("$", "$$"))


def _word(text: str) -> str:
    """Return one word as systemd reads it back."""
    text = text.replace("%", "%%")
    if _PLAIN.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
