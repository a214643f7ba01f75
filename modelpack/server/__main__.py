"""``python -I -m modelpack.server``: serves the unpacked bundle in ``$MODELPACK_BUNDLE``.

$MODELPACK_BUNDLE    folder with bundle.json, code, models
$MODELPACK_TAG       name:version, shown in logs and documents
$MODELPACK_PORT …    any server setting; the bundle's own settings are the defaults
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from modelpack.config.settings import ServerSettings


def main() -> int:
    """Serve; returns the exit status: 0 done, 1 failed, 2 usage, as on the command line."""
    # Before anything can import onnxruntime: its Linux wheel sends telemetry otherwise.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    from modelpack import paths
    from modelpack.errors import ModelpackError, UsageError
    from modelpack.frameworks.bundled import open_bundle
    from modelpack.server import run

    try:
        folder = paths.bundle_dir()
        if folder is None:
            raise UsageError(
                "MODELPACK_BUNDLE is not set", hint="let it name the folder of an unpacked bundle"
            )
        settings = _settings(folder)
        return run(open_bundle(folder), settings, tag=os.environ.get("MODELPACK_TAG", ""))
    except ModelpackError as error:
        hint = f"\n  help: {error.hint}" if error.hint else ""
        sys.stderr.write(f"error[{error.code}]: {error.message}{hint}\n")
        return error.exit_code


def _settings(folder: Path) -> ServerSettings:
    """Return the bundle's server settings with the environment's over them; raises UsageError."""
    from modelpack.config.settings import ServerSettings, recorded_settings, settings_from_env
    from modelpack.errors import UsageError
    from modelpack.frameworks.bundled import read_manifest

    own = recorded_settings(ServerSettings, read_manifest(folder).settings)
    try:
        return settings_from_env(own, os.environ)
    except ValueError as cause:
        raise UsageError(str(cause), hint="mend the variable, or unset it") from cause


def _leave(status: int) -> NoReturn:
    """Exit; threads of the service that never end are not waited for longer than two seconds."""
    timer = threading.Timer(2.0, os._exit, (status,))
    timer.daemon = True
    timer.start()
    sys.exit(status)


if __name__ == "__main__":
    _leave(main())
