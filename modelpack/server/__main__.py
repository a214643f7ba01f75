"""``python -I -m modelpack.server``: serves the unpacked bundle in ``$MODELPACK_BUNDLE``.

$MODELPACK_BUNDLE    folder with bundle.json, code, models
$MODELPACK_TAG       name:version, shown in logs and documents
$MODELPACK_PORT …    any server setting; the bundle's own settings are the defaults
$MODELPACK_RUN_RECORD  file in which it notes itself for ``modelpack servers``
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelpack.config.settings import ServerSettings
    from modelpack.server.life.record import RunRecord


def main() -> int:
    """Serve; returns the exit status: 0 done, 1 failed, 2 usage, as on the command line."""
    # Before anything can import onnxruntime: its Linux wheel sends telemetry otherwise.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    from modelpack import paths
    from modelpack.errors import ModelpackError, UsageError
    from modelpack.frameworks.source import Source
    from modelpack.server import run

    try:
        folder = paths.bundle_dir()
        if folder is None:
            raise UsageError(
                "MODELPACK_BUNDLE is not set", hint="let it name the folder of an unpacked bundle"
            )
        return run(
            None,
            _settings(folder),
            tag=os.environ.get("MODELPACK_TAG", ""),
            source=Source("bundle", "", str(folder)),
            record=_record(),
        )
    except ModelpackError as error:
        hint = f"\n  help: {error.hint}" if error.hint else ""
        sys.stderr.write(f"error[{error.code}]: {error.message}{hint}\n")
        return error.exit_code


def _record() -> RunRecord | None:
    """Return where this server notes itself, if it was told to."""
    from modelpack.server.life.record import RunRecord

    # Whatever the service starts is not this server.
    file = os.environ.pop("MODELPACK_RUN_RECORD", None)
    return RunRecord.at(Path(file)) if file else None


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


if __name__ == "__main__":
    from modelpack.server.life.init import stand_by

    stand_by()  # before anything else is loaded: as process 1 this stays behind, small

    from modelpack.server.life.stopping import leave

    leave(main())
