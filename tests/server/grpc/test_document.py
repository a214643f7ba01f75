"""The OpenAPI document says where gRPC is, which it has no other words for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx

REFLECTION = "grpc.reflection.v1"


def told(server: Any) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{server.url}/openapi.json").json()["x-grpc"]
    return found


def listed(server: Any, make: Any) -> list[str]:
    body = make(f"{REFLECTION}.ServerReflectionRequest")(list_services="").SerializeToString()
    ask = server.channel.stream_stream(f"/{REFLECTION}.ServerReflection/ServerReflectionInfo")
    (answer,) = ask(iter([body]), timeout=20)
    read = make(f"{REFLECTION}.ServerReflectionResponse").FromString(answer)
    return [one.name for one in read.list_services_response.service]


def test_the_port_and_the_services_are_those_that_answer(served: Any, make: Any) -> None:
    grpc = told(served)

    assert served.target.endswith(f":{grpc['port']}")
    assert sorted(grpc["services"]) == sorted(listed(served, make))


def test_services_of_a_contract_that_is_off_are_not_named(
    serve_grpc: Callable[..., Any], make: Any
) -> None:
    server = serve_grpc("--face", "none")

    assert sorted(told(server)["services"]) == sorted(listed(server, make))
