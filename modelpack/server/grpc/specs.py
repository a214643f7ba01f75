"""``ModelSpec``: which model, version and signature a client of TensorFlow Serving means.

    name            the model; with a signature another api of the service
    version         counts what was swapped in, from 1; 0: whichever is served, as the client of
                    OpenVINO's server means it
    version_label   the bundle's version, ``latest`` or ``stable``
    signature_name  the name of an api; ``serving_default`` or none: the model's own

tensorflow_serving/apis/model.proto
"""

from __future__ import annotations

from modelpack.server.faces.catalog import Catalog, Served
from modelpack.server.faces.tfserving import labels_of
from modelpack.server.grpc.messages import Message
from modelpack.server.problems import Problem, RefusedRequest

DEFAULT_SIGNATURE = "serving_default"


def named(catalog: Catalog, spec: Message) -> Served:
    """Return the model of a specification; raises RefusedRequest (404) in TensorFlow's words."""
    found = catalog.models.get(spec.name)
    choice = spec.WhichOneof("version_choice")
    if choice == "version" and spec.version.value:
        fits = spec.version.value == catalog.number
        wanted = f"Specific({spec.name[:100]}, {spec.version.value})"
    elif choice == "version_label":
        fits = spec.version_label in labels_of(catalog)
        wanted = f"Label({spec.name[:100]}, {spec.version_label[:100]})"
    else:
        fits, wanted = True, f"Latest({spec.name[:100]})"
    if found is None or not fits:
        text = f"Servable not found for request: {wanted}"
        raise RefusedRequest(Problem(404, "unknown-model", text))
    return found


def with_signature(catalog: Catalog, spec: Message) -> Served:
    """Return the api that a specification means; raises RefusedRequest."""
    served = named(catalog, spec)
    signature = spec.signature_name
    if signature in ("", DEFAULT_SIGNATURE, served.api.name):
        return served
    other = catalog.api(signature) if served is catalog.default else None
    if other is None:
        detail = f"'{served.name}' has no signature '{signature[:100]}'"
        raise RefusedRequest(Problem(400, "bad-input", "unknown signature", detail))
    return other


def check_kind(served: Served) -> None:
    """Raise RefusedRequest for an api that streams."""
    if served.api.is_stream:
        detail = f"'{served.name}' answers in pieces: call it over HTTP, or by ModelStreamInfer"
        raise RefusedRequest(Problem(501, "not-implemented", "not implemented", detail))


def tell_spec(told: Message, catalog: Catalog, asked: Message) -> None:
    """Say in an answer what has answered."""
    told.name = asked.name
    told.signature_name = asked.signature_name or DEFAULT_SIGNATURE
    told.version.value = catalog.number
