"""TensorFlow Serving's RESTful API.

    POST /v1/models/{m}[/versions/{v}|/labels/{l}]:predict      instances or inputs (``v1``)
                                                  :classify     examples ──► labels with scores
                                                  :regress      examples ──► one number each
    GET  /v1/models/{m}[/versions/{v}|/labels/{l}]              which version is there, in which state
                                                  /metadata     its signatures

A version is the count of versions that the process has served, since here it has to be a number; the
bundle's own version is taken as well, and is a label beside ``stable`` and ``latest``.  A signature is
an api: ``serving_default`` the one of the path, any other an api by its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import BaseRoute, Route

from modelpack.server.door import Door
from modelpack.server.faces import openapi_parts as parts
from modelpack.server.faces.catalog import Catalog, Served
from modelpack.server.faces.face import Face
from modelpack.server.faces.tensors import InputPort, OutputPort
from modelpack.server.faces.v1 import CLASSIFY, PREDICT, REGRESS, SIGNATURE, Shared, is_stream
from modelpack.server.problems import Problem, RefusedRequest, not_found
from modelpack.server.web.replies import Reply, json_reply

DTYPES = {
    "BOOL": "DT_BOOL", "UINT8": "DT_UINT8", "UINT16": "DT_UINT16", "UINT32": "DT_UINT32",
    "UINT64": "DT_UINT64", "INT8": "DT_INT8", "INT16": "DT_INT16", "INT32": "DT_INT32",
    "INT64": "DT_INT64", "FP16": "DT_HALF", "FP32": "DT_FLOAT", "FP64": "DT_DOUBLE",
    "BYTES": "DT_STRING",
}  # fmt: skip
"""TensorFlow's names of the datatypes."""

WHICHEVER = "0"
"""The version that clients name which mean none: ovmsclient has a 0 in every path."""

_VERBS = (PREDICT, CLASSIFY, REGRESS)
_NAME = "signature_name"
_VERSION, _LABEL = "/versions/{version}", "/labels/{label}"


class TfServingFace(Face):
    """The contract of TensorFlow Serving over HTTP."""

    name: ClassVar[str] = "tfserving"
    prefixes = ("/v1/models",)

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog)
        self._shared = Shared(catalog)
        self._versions = {str(catalog.number), catalog.version, WHICHEVER}
        self._middles = [f"/versions/{one}" for one in sorted(self._versions)]
        self._middles += [f"/labels/{one}" for one in labels_of(catalog)]
        self.doors: list[Door] = list(self._doors())
        root = "/v1/models/{model}"
        self.routes: list[BaseRoute] = [
            Route(f"{root}{middle}/metadata", self._metadata, methods=["GET"])
            for middle in ("", _VERSION, _LABEL)
        ]
        self.routes += [
            Route(root + middle, self._status, methods=["GET"])
            for middle in (("", _VERSION, _LABEL)[self._shared.has_kserve :])
        ]
        self.routes += [
            Route(f"{root}{middle}:{{verb}}", self._refuse, methods=["POST"])
            for middle in ("", _VERSION, _LABEL)
        ]

    def _doors(self) -> Iterator[Door]:
        catalog = self.catalog
        for served in catalog.models.values():
            if served.api.is_stream:
                continue
            root = f"/v1/models/{served.name}"
            for verb in _VERBS:
                if verb != PREDICT or not self._shared.has_kserve:  # that one reads both
                    is_certain = verb != PREDICT
                    yield self._shared.door(f"{root}:{verb}", served, verb, is_tensors=is_certain)
                for middle in self._middles:
                    yield self._shared.door(f"{root}{middle}:{verb}", served, verb, is_tensors=True)

    async def _status(self, request: Request) -> Reply:
        """Say which version is there, and in which state."""
        self._check_verb(request)
        self._found(request)
        return json_reply(status_of(self.catalog))

    async def _metadata(self, request: Request) -> Reply:
        """Describe the signatures of a model."""
        served = self._found(request)
        signatures = {SIGNATURE: signature_of(served)}
        if served is self.catalog.default:
            others = [one for one in self.catalog.models.values() if one is not served]
            signatures |= {one.api.name: signature_of(one) for one in others}
        version = str(self.catalog.number)
        spec = {"name": served.name, "signature_name": "", "version": version}
        described = {"signature_def": {"signature_def": signatures}}
        return json_reply({"model_spec": spec, "metadata": described})

    async def _refuse(self, request: Request) -> Reply:
        """Say why nothing answers to a verb of a model."""
        served = self._found(request)
        is_known = request.path_params["verb"] in _VERBS
        raise RefusedRequest(is_stream(served) if is_known else not_found(request.url.path))

    @staticmethod
    def _check_verb(request: Request) -> None:
        if ":" in request.url.path.rpartition("/")[2]:
            raise HTTPException(405, headers={"Allow": "POST"})

    def _found(self, request: Request) -> Served:
        """Return the model of a path; raises RefusedRequest."""
        name = request.path_params["model"]
        version = request.path_params.get("version", "")
        label = request.path_params.get("label", "")
        catalog = self.catalog
        served = catalog.models.get(name)
        if served is None or version not in {"", *self._versions}:
            raise RefusedRequest(no_servable(name, version))
        if label and label not in labels_of(catalog):
            text = "Unrecognized servable version label"
            raise RefusedRequest(Problem(400, "unknown-version", text, label[:100]))
        return served

    def openapi(self) -> dict[str, Any]:
        """Return the paths of all models; ``in_versions`` adds versions and labels."""
        items: dict[str, Any] = {}
        status = parts.record({"model_version_status": parts.array(parts.record({}))})
        metadata = parts.record({"model_spec": parts.record({}), "metadata": parts.record({})})
        for served in self.catalog.models.values():
            root = f"/v1/models/{served.name}"
            items[root] = {"get": _asked("Status of a model", status)}
            items[f"{root}/metadata"] = {"get": _asked("Signatures of a model", metadata)}
            if not served.api.is_stream:
                items |= {f"{root}:{verb}": _described(served, verb) for verb in _VERBS}
        return items


def labels_of(catalog: Catalog) -> Sequence[str]:
    """Return the labels of the version that is served."""
    return tuple(dict.fromkeys(("stable", "latest", catalog.version)))


def no_servable(name: str, version: str = "") -> Problem:
    """No model has that name, or not in that version."""
    is_any = version in ("", WHICHEVER)
    request = f"Latest({name[:100]})" if is_any else f"Specific({name[:100]}, {version[:100]})"
    return Problem(404, "unknown-model", "Servable not found for request", request)


def status_of(catalog: Catalog) -> dict[str, Any]:
    """Return the state of the version that is served."""
    problem = catalog.problem()
    state = "AVAILABLE"
    if problem is not None:
        state = "UNLOADING" if problem.code == "unavailable" else "LOADING"
    status = {"error_code": "OK", "error_message": ""}
    one = {"version": str(catalog.number), "state": state, "status": status}
    return {"model_version_status": [one]}


def signature_of(served: Served) -> dict[str, Any]:
    """Return an api as a signature; of outputs what is known before there is an answer."""
    return {
        "inputs": {port.name: _tensor_info(port) for port in served.inputs},
        "outputs": {port.name: _tensor_info(port) for port in served.outputs.declared},
        "method_name": "tensorflow/serving/predict",
    }


def _tensor_info(port: InputPort | OutputPort) -> dict[str, Any]:
    dims = [{"size": str(length), "name": ""} for length in port.shape]
    return {
        "dtype": DTYPES[port.datatype],
        "tensor_shape": {"dim": dims, "unknown_rank": False},
        "name": f"{port.name}:0",
    }


def _asked(summary: str, schema: dict[str, Any]) -> dict[str, Any]:
    return parts.operation(summary, answers={"200": parts.said("The answer.", schema)})


def _described(served: Served, verb: str) -> dict[str, Any]:
    """Return the path item of a door."""
    example = said = None  # whether an api gives classes or values only its answers show
    if verb == PREDICT:
        example = {"instances": parts.example_rows(served)}
        said = parts.within("predictions", parts.example_predictions(served))
        answer = parts.record({}, {"predictions": {}, "outputs": {}})
        schema = parts.record({}, {"instances": parts.array({}), "inputs": {}, _NAME: {}})
    else:
        answer = parts.record({"results": parts.array({})})
        schema = parts.record({"examples": parts.array({})}, {"context": {}, _NAME: {}})
    return {
        "post": parts.operation(
            f"{verb.capitalize()} with {served.name}",
            body=parts.json_body(schema, example),
            answers={"200": parts.said("The answer.", answer, example=said)},
            refused=parts.INFERENCE,
        )
    }
