"""``python -I -m modelpack.server``: serves the unpacked bundle in ``$MODELPACK_BUNDLE``.

    variables, argument ──life.contract──► which platform is this? ─┬─► a port: ``run``
                                                                    └─► events: ``lambda_.loop``

$MODELPACK_BUNDLE    folder with bundle.json, code, models; not set: the model folder of the platform
$MODELPACK_TAG       name:version, shown in logs and documents
$MODELPACK_PORT …    any server setting; the bundle's own settings are the defaults
$MODELPACK_RUN_RECORD  file in which it notes itself for ``modelpack servers``
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelpack.config.settings import ServerSettings
    from modelpack.frameworks.source import Source
    from modelpack.server.life.contract import Contract
    from modelpack.server.life.record import RunRecord


def main(arguments: Sequence[str] = ()) -> int:
    """Serve; returns the exit status: 0 done, 1 failed, 2 usage, as on the command line."""
    # Before anything can import onnxruntime: its Linux wheel sends telemetry otherwise.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    from modelpack.errors import ModelpackError

    try:
        contract, source, settings = chosen(arguments)
        tag = os.environ.get("MODELPACK_TAG", "")
        if contract.platform == "lambda":
            from modelpack.server.lambda_.loop import serve_events

            return serve_events(source, settings, tag=tag)
        from modelpack.server import run

        return run(None, settings, tag=tag, source=source, record=_record())
    except ModelpackError as error:
        hint = f"\n  help: {error.hint}" if error.hint else ""
        sys.stderr.write(f"error[{error.code}]: {error.message}{hint}\n")
        return error.exit_code


def chosen(arguments: Sequence[str]) -> tuple[Contract, Source, ServerSettings]:
    """Return for which platform what is served, and how; raises UsageError and StoreError."""
    from modelpack import paths
    from modelpack.errors import UsageError
    from modelpack.frameworks.source import Source
    from modelpack.server.life.contract import contract_of, source_in

    contract = contract_of(arguments, os.environ)
    folder, source = paths.bundle_dir(), None
    if folder is not None:
        source = Source("bundle", "", str(folder))
    elif contract.model_dir is not None:
        source = source_in(contract.model_dir)
        if source is None:
            raise UsageError(
                f"there is no bundle and no single ONNX file in '{contract.model_dir}'",
                hint="put one there, or use an image that holds its bundle",
            )
    if source is None:
        raise UsageError(
            "MODELPACK_BUNDLE is not set", hint="let it name the folder of an unpacked bundle"
        )
    if source.kind == "bundle":
        os.environ["MODELPACK_BUNDLE"] = source.folder
    return contract, source, _settings(source, contract)


def _record() -> RunRecord | None:
    """Return where this server notes itself, if it was told to."""
    from modelpack.server.life.record import RunRecord

    # Whatever the service starts is not this server.
    file = os.environ.pop("MODELPACK_RUN_RECORD", None)
    return RunRecord.at(Path(file)) if file else None


def _settings(source: Source, contract: Contract) -> ServerSettings:
    """Return the bundle's settings with the platform's and the environment's over them."""
    from modelpack.config.settings import ServerSettings, recorded_settings
    from modelpack.errors import UsageError
    from modelpack.frameworks.bundled import read_manifest
    from modelpack.server.life.contract import settings_for

    own = ServerSettings()
    if source.kind == "bundle":
        own = recorded_settings(ServerSettings, read_manifest(Path(source.folder)).settings)
    try:
        return settings_for(own, contract, os.environ)
    except ValueError as cause:
        raise UsageError(str(cause), hint="mend the variable, or unset it") from cause


if __name__ == "__main__":
    from modelpack.server.life.init import stand_by

    stand_by()  # before anything else is loaded: as process 1 this stays behind, small

    from modelpack.server.life.stopping import leave

    leave(main(sys.argv[1:]))
