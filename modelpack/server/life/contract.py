"""Which platform started this container, and what that changes.

    arguments, variables, mounts ──contract_of──► Contract ──settings_for──► ServerSettings

| found                                 | platform    | what changes                                 |
| ------------------------------------- | ----------- | -------------------------------------------- |
| the argument ``serve``                | sagemaker   | port 8080, or ``SAGEMAKER_BIND_TO_PORT``      |
| ``AWS_LAMBDA_RUNTIME_API``            | lambda      | no port: events are fetched (``lambda_``)     |
| ``AIP_HTTP_PORT``                     | vertex      | that port; the paths are the contract's       |
| ``AZUREML_MODEL_DIR``                 | azureml     | nothing: the deployment names our port        |
| ``K_SERVICE`` or ``PORT``             | cloudrun    | ``PORT``, else 8080                           |
| something in ``/mnt/models``          | kserve      | port 8080                                     |
| none of them                          |             | nothing                                       |

The first that fits counts.  A ``MODELPACK_…`` variable of the operator wins over what a platform
says, and that over the settings of the bundle; images set ``MODELPACK_PORT=3000`` themselves, so that
this value says nothing.  An image has its bundle inside.  A program without one (``MODELPACK_BUNDLE``
not set) takes what the platform has put into its model folder: a bundle, or one ONNX file.

Sources: SageMaker developer guide, "Custom inference code with hosting services" (``serve``, the port,
the 30 seconds between the signals) and "Custom containers contract for multi-model endpoints"; the
variables are read so by AWS's own containers (sagemaker-inference-toolkit, sagemaker-tensorflow-serving-
container).  Cloud Run documentation, "Container runtime contract" (``PORT``, ``K_SERVICE``, ten seconds).
Vertex AI documentation, "Custom container requirements for prediction".  Azure Machine Learning
documentation, "Deploy machine learning models to online endpoints" (``AZUREML_MODEL_DIR``).  KServe
documentation, "Custom predictor".  AWS Lambda Web Adapter, README (``AWS_LWA_PORT``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modelpack.config.settings import ServerSettings, settings_from_env
from modelpack.errors import UsageError
from modelpack.frameworks.source import Source
from modelpack.manifest import BUNDLE_FILE

LAMBDA = "lambda"
"""Name of the platform that has no port."""

MOUNTED = Path("/mnt/models")
"""Where KServe puts a model."""
UNPACKED = Path("/opt/ml/model")
"""Where SageMaker puts a model."""
ADAPTER = Path("/opt/extensions/lambda-adapter")
"""Lambda's web adapter, which fetches the events itself and asks over HTTP."""

DEFAULT_PORT = 8080
"""Port of the platforms that say none."""
_SAGEMAKER_GRACE_S = 26.0  # it kills after 30 s, and the last words take two
_CLOUD_RUN_GRACE_S = 7.0  # after 10 s
_DEEPEST = 3
"""Most folders between a model folder and the bundle in it."""


@dataclass(frozen=True, slots=True)
class Contract:
    """What a platform asks for."""

    platform: str = ""
    """``sagemaker``, ``lambda`` and so on; "": none was found."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the server's settings, over those of the bundle."""
    grace_s: float | None = None
    """Longest that the end may take; None: as long as the settings say."""
    model_dir: Path | None = None
    """Where the platform puts a model."""


def contract_of(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    *,
    mounted: Path = MOUNTED,
    adapter: Path = ADAPTER,
) -> Contract:
    """Return what the platform asks for that has started this process.

    ``arguments`` are those of the command line.  Raises UsageError for an unknown one, and for a port
    that is none.
    """
    if arguments and list(arguments) != ["serve"]:
        raise UsageError(
            f"unknown argument '{' '.join(arguments)[:60]}'",
            hint="the image serves by itself, and takes 'serve' or nothing",
        )
    if arguments:
        return _sagemaker(environ)
    if environ.get("AWS_LAMBDA_RUNTIME_API"):
        return _lambda(environ, adapter)
    if environ.get("AIP_HTTP_PORT"):
        return Contract("vertex", {"port": _port(environ, "AIP_HTTP_PORT")})
    if environ.get("AZUREML_MODEL_DIR"):
        return Contract("azureml", model_dir=Path(environ["AZUREML_MODEL_DIR"]))
    if environ.get("K_SERVICE") or environ.get("PORT"):
        settings = {"port": _port(environ, "PORT")}
        grace_s = _CLOUD_RUN_GRACE_S if environ.get("K_SERVICE") else None
        return Contract("cloudrun", settings, grace_s, mounted if _has_files(mounted) else None)
    if _has_files(mounted):
        return Contract("kserve", {"port": DEFAULT_PORT}, model_dir=mounted)
    return Contract()


def settings_for(
    own: ServerSettings, contract: Contract, environ: Mapping[str, str]
) -> ServerSettings:
    """Return the settings to serve with; ``own`` are those of the bundle.

    Raises ValueError that names a ``MODELPACK_…`` variable.
    """
    settings = replace(own, **contract.settings)
    if contract.grace_s is not None:
        settings = replace(settings, grace_s=min(settings.grace_s, contract.grace_s))
    is_image_port = environ.get("MODELPACK_PORT") == str(ServerSettings().port)
    if "port" in contract.settings and is_image_port:
        environ = {name: value for name, value in environ.items() if name != "MODELPACK_PORT"}
    return settings_from_env(settings, environ)


def source_in(folder: Path) -> Source | None:
    """Return the bundle, or else the only ONNX file, in a platform's model folder; None: neither."""
    levels = ["/".join(["*"] * depth) for depth in range(_DEEPEST + 1)]
    for level in levels:
        found = sorted(folder.glob(f"{level}/{BUNDLE_FILE}" if level else BUNDLE_FILE))
        if found:
            return Source("bundle", "", str(found[0].parent))
    for level in levels:
        files = sorted(folder.glob(f"{level}/*.onnx" if level else "*.onnx"))
        if len(files) == 1:
            return Source("model", files[0].name, str(files[0].parent))
    return None


def _sagemaker(environ: Mapping[str, str]) -> Contract:
    settings: dict[str, Any] = {"port": _port(environ, "SAGEMAKER_BIND_TO_PORT")}
    workers = environ.get("SAGEMAKER_MODEL_SERVER_WORKERS", "")
    if workers.isdigit() and 0 < int(workers) <= 256:
        settings["workers"] = int(workers)
    if is_multi_model(environ):
        settings["workers"] = 1  # the others would not know what one has loaded
    return Contract("sagemaker", settings, _SAGEMAKER_GRACE_S, UNPACKED)


def is_multi_model(environ: Mapping[str, str]) -> bool:
    """Say whether SageMaker wants to load models itself."""
    return environ.get("SAGEMAKER_MULTI_MODEL", "").lower() == "true"


def _lambda(environ: Mapping[str, str], adapter: Path) -> Contract:
    if adapter.exists():
        name = "AWS_LWA_PORT" if environ.get("AWS_LWA_PORT") else "PORT"
        return Contract("lambda-adapter", {"port": _port(environ, name), "workers": 1})
    alone = {"workers": 1, "replicas": 1, "metrics_port": None, "grpc_port": None}
    return Contract(LAMBDA, alone)


def _port(environ: Mapping[str, str], name: str) -> int:
    """Return the port that a variable names, 8080 where it is not set; raises UsageError."""
    text = environ.get(name) or str(DEFAULT_PORT)
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise UsageError(f"{name}: must be a port, got '{text[:40]}'", hint="set it to a number")
    return int(text)


def _has_files(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(entries)
    except OSError:
        return False
