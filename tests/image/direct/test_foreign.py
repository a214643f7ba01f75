"""Real packages for another processor than this one: what is installed is what runs there.

Nothing of it is started here: what is shown is that wheels and machine code are for that processor.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from modelpack.archive.lockfile import LockedPackage, read_lock
from modelpack.archive.platforms import Platform
from modelpack.archive.resolver import run_uv
from modelpack.image.direct.installing import Installer
from modelpack.image.direct.normalising import installed_parts

MACHINES = {"x86_64": 0x3E, "aarch64": 0xB7}
"""``e_machine`` of an ELF file, by the name that the kernel has for the processor."""


@pytest.fixture(scope="module")
def lock() -> tuple[LockedPackage, ...]:
    text = run_uv(
        ["pip", "compile", "-", "--generate-hashes", "--no-header", "--no-annotate", "--universal"],
        goal="lock two packages",
        stdin="httptools\nmarkupsafe\n",
        uses_index=True,
    )
    return read_lock(text)


@pytest.mark.network
@pytest.mark.parametrize("machine", MACHINES)
def test_machine_code_and_wheels_are_for_that_processor(
    lock: tuple[LockedPackage, ...], machine: str, tmp_path: Path
) -> None:
    platform = Platform(machine)
    prefix = Installer(lock, platform, "3.11").install(tmp_path / "prefix")
    parts = installed_parts(prefix, "3.11", lambda name: pytest.fail(name))

    machines, tags = set(), set()
    for part in parts:
        data = part.source.read_bytes() if isinstance(part.source, Path) else part.source
        if data[:4] == b"\x7fELF":
            machines.add(int.from_bytes(data[18:20], "little"))
        if part.path.endswith(".dist-info/WHEEL"):
            found = set(re.findall(r"^Tag: (\S+)$", data.decode(), re.MULTILINE))
            assert found & {str(tag) for tag in platform.tags("3.11")}
            tags |= found

    assert machines == {MACHINES[machine]}
    assert tags
    assert all(tag.endswith(f"_{machine}") for tag in tags)


@pytest.mark.network
def test_both_processors_get_the_same_modules(
    lock: tuple[LockedPackage, ...], tmp_path: Path
) -> None:
    modules = []
    for machine in MACHINES:
        prefix = Installer(lock, Platform(machine), "3.11").install(tmp_path / machine)
        parts = installed_parts(prefix, "3.11", lambda name: pytest.fail(name))
        modules.append({one.path: one.sha256 for one in parts if one.path.endswith(".py")})
    assert modules[0] == modules[1]
