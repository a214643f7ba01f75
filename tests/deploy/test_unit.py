"""The unit of systemd that a local deployment is written as."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

from modelpack.deploy.unit import unit_files

PYTHON = "/opt/venv/bin/python"

UNIT = """\
# systemctl --user link $PWD/modelpack-digits.service
# systemctl --user enable --now modelpack-digits
# loginctl enable-linger          (it then runs without anybody being logged in)
[Unit]
Description=modelpack deployment digits (digits:a)

[Service]
Type=notify
NotifyAccess=all
ExecStart=/opt/venv/bin/python -m modelpack serve digits:a --host 127.0.0.1 --port 3000
TimeoutStartSec=20
TimeoutStopSec=17
Restart=always
RestartSec=1
KillMode=mixed
Environment=ORT_DISABLE_TELEMETRY=1 MODELPACK_LOG_FORMAT=json
Environment="GREETING=hello \\"you\\" 100%%"
Environment=MODELPACK_GRACE_S=12
# NAME=value lines for TOKEN, mode 0600:
EnvironmentFile=%h/.config/modelpack/digits.env
CPUQuota=150%
MemoryMax=1073741824
MemorySwapMax=0
NoNewPrivileges=yes

[Install]
WantedBy=default.target
"""


@pytest.fixture
def spec(make_spec):
    return make_spec(
        port=3000,
        cpu=1.5,
        memory_bytes=2**30,
        secrets={"TOKEN": "env:TOKEN"},
        GREETING='hello "you" 100%',
        MODELPACK_GRACE_S="12",
    )


def test_a_unit_says_all_that_was_asked_for(spec) -> None:
    assert unit_files(spec, PYTHON) == {"modelpack-digits.service": UNIT.encode()}


def test_a_plain_deployment_has_a_short_unit(make_spec) -> None:
    text = unit_files(make_spec(), PYTHON)["modelpack-digits.service"].decode()
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(text)
    assert parser.sections() == ["Unit", "Service", "Install"]
    assert not {"environmentfile", "cpuquota", "memorymax"} & set(parser["Service"])


def test_the_target_renders_it(local, make_spec) -> None:
    assert list(local.render(make_spec()).files) == ["modelpack-digits.service"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_has_nothing_to_say_about_it(spec, tmp_path: Path) -> None:
    for name, data in unit_files(spec).items():
        (tmp_path / name).write_bytes(data)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--user", *tmp_path.iterdir()],
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    said = [line for line in done.stderr.splitlines() if "modelpack-" in line]
    assert (said, done.returncode) == ([], 0), done.stderr
