"""What orchestrators and tools ask: health, reflection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

CHECK = "/grpc.health.v1.Health/Check"
SERVING = 1
NAMES = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"]


@pytest.mark.parametrize(
    "service",
    ["", "inference.GRPCInferenceService", "tensorflow.serving.PredictionService", "demo",
     "demo.half"],
)  # fmt: skip
def test_what_is_served_is_healthy(served: Any, make: Any, service: str) -> None:
    request = make("grpc.health.v1.HealthCheckRequest")(service=service)

    assert served.call(CHECK, request, "grpc.health.v1.HealthCheckResponse").status == SERVING


def test_the_health_of_nothing_is_not_found(
    served: Any, make: Any, why: Callable[..., tuple[str, str]]
) -> None:
    body = make("grpc.health.v1.HealthCheckRequest")(service="other").SerializeToString()

    assert why(lambda: served.send(CHECK, body)) == (
        "NOT_FOUND", "not found: no service 'other'"
    )  # fmt: skip
    watch = served.channel.unary_stream("/grpc.health.v1.Health/Watch")(body, timeout=20)
    first = make("grpc.health.v1.HealthCheckResponse").FromString(next(watch))
    watch.cancel()
    assert first.status == 3  # SERVICE_UNKNOWN


def test_bytes_that_are_no_message_are_an_invalid_argument(
    served: Any, why: Callable[..., tuple[str, str]]
) -> None:
    assert why(lambda: served.send(CHECK, b"\xff"))[0] == "INVALID_ARGUMENT"
    watch = served.channel.unary_stream("/grpc.health.v1.Health/Watch")
    assert why(lambda: list(watch(b"\xff", timeout=20)))[0] == "INVALID_ARGUMENT"
    info = served.channel.stream_stream(f"/{NAMES[0]}/ServerReflectionInfo")
    assert why(lambda: list(info(iter([b"\xff"]), timeout=20)))[0] == "INVALID_ARGUMENT"


def reflect(served: Any, make: Any, name: str, **question: Any) -> Any:
    package = name.rpartition(".")[0]
    body = make(f"{package}.ServerReflectionRequest")(**question).SerializeToString()
    answers = served.channel.stream_stream(f"/{name}/ServerReflectionInfo")(
        iter([body]), timeout=20
    )
    (answer,) = [make(f"{package}.ServerReflectionResponse").FromString(one) for one in answers]
    return answer


@pytest.mark.parametrize("name", NAMES)
def test_reflection_lists_the_services(served: Any, make: Any, name: str) -> None:
    answer = reflect(served, make, name, list_services="")

    assert [one.name for one in answer.list_services_response.service] == [
        "grpc.health.v1.Health",
        *NAMES,
        "inference.GRPCInferenceService",
        "org.pytorch.serve.grpc.inference.InferenceAPIsService",
        "tensorflow.serving.ModelService",
        "tensorflow.serving.PredictionService",
    ]


@pytest.mark.parametrize(
    "symbol",
    ["inference.GRPCInferenceService", "inference.GRPCInferenceService.ModelInfer",
     "tensorflow.serving.PredictRequest"],
)  # fmt: skip
def test_reflection_gives_all_that_a_tool_needs_to_make_messages(
    served: Any, make: Any, symbol: str
) -> None:
    answer = reflect(served, make, NAMES[0], file_containing_symbol=symbol)

    files = answer.file_descriptor_response.file_descriptor_proto
    database = descriptor_pool.DescriptorPool()
    for data in reversed(files):  # imports stand behind those that need them
        database.Add(descriptor_pb2.FileDescriptorProto.FromString(data))
    assert database.FindFileContainingSymbol(symbol.removesuffix(".ModelInfer")) is not None


def test_what_reflection_does_not_know_is_not_found(served: Any, make: Any) -> None:
    for question in ({"file_containing_symbol": "no.such.Thing"}, {"file_by_filename": "no.proto"},
                     {"all_extension_numbers_of_type": "x"}):  # fmt: skip
        answer = reflect(served, make, NAMES[0], **question)
        assert answer.error_response.error_code == 5, question


def test_the_contract_of_tensorflow_is_left_out_when_it_is_not_asked_for(
    serve_grpc: Callable[..., Any], make: Any
) -> None:
    server = serve_grpc("--face", "none")

    answer = reflect(server, make, NAMES[0], list_services="")

    names = [one.name for one in answer.list_services_response.service]
    assert "inference.GRPCInferenceService" in names
    assert not any(name.startswith("tensorflow") for name in names)
