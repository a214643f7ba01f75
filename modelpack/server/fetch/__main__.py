"""``python -I -m modelpack.server.fetch REFERENCE --to FOLDER``: the models of a bundle, fetched.

Exit status 0 done, 2 usage, 3 not there, 4 refused, 1 anything else; the last line says why.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from modelpack.errors import ModelpackError, RegistryError
from modelpack.server.fetch.pulling import Registry
from modelpack.server.fetch.reference import Reference, login_for, parse
from modelpack.server.fetch.unpacking import model_layers, unpack

WORK = ".fetched"
"""Folder of what was begun, below that of the models; gone when all is there."""


def main(arguments: Sequence[str], *, sleep: Callable[[float], None] = time.sleep) -> int:
    """Fetch; return the exit status."""
    parser = argparse.ArgumentParser(prog="modelpack.server.fetch", allow_abbrev=False)
    parser.add_argument("reference", help="HOST/REPOSITORY@sha256:DIGEST of a bundle")
    parser.add_argument("--to", type=Path, required=True, help="folder of the models")
    parser.add_argument("--login", type=Path, help="file of logins, as Docker writes it")
    given = parser.parse_args(arguments)
    begun = time.monotonic()
    try:
        reference = parse(given.reference)
        registry = Registry(reference, login_for(reference.host, given.login), sleep)
        count = fetch(reference, registry, given.to)
    except ModelpackError as error:
        hint = f"\n  help: {error.hint}" if error.hint else ""
        sys.stderr.write(f"error[{error.code}]: {error.message}{hint}\n")
        return error.exit_code
    said = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": "info",
        "event": "models-fetched",
        "reference": str(reference),
        "layers": count,
        "received_bytes": registry.received_bytes,
        "seconds": round(time.monotonic() - begun, 3),
    }
    sys.stderr.write(json.dumps(said) + "\n")
    return 0


def fetch(reference: Reference, registry: Registry, folder: Path) -> int:
    """Have the models of a bundle in a folder; return how many layers they are.

    Raises NotFoundError, LoginNeededError, DigestMismatchError, RefusedError, UnreachableError,
    RegistryError (no room among them).
    """
    work = folder / WORK
    try:
        work.mkdir(parents=True, exist_ok=True)
        layers = model_layers(registry.manifest(), str(reference))
        for layer in layers:
            done = work / layer.digest.removeprefix("sha256:")
            if done.exists():
                continue
            part = done.with_suffix(".part")
            registry.save(layer.digest, layer.size, part)
            unpack(part, folder)
            part.replace(done)
            done.write_bytes(b"")
        shutil.rmtree(work)
    except OSError as cause:
        why = (cause.strerror or "it cannot be written").lower()
        raise RegistryError(
            f"cannot keep the models in '{folder}': {why}",
            hint="give the volume room, and let it be written by the user of the image",
        ) from cause
    return len(layers)


def _end(number: int, _: object) -> None:
    """End at once: a first process, as in a container, heeds no signal that it has not asked for."""
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main(sys.argv[1:]))
