"""The document describes all that answers, truly: valid, whole, and with examples that work."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from openapi_spec_validator import validate
from starlette.routing import Route

import modelpack
from modelpack.config.serving import FACES
from modelpack.config.settings import ServerSettings
from modelpack.sdk.service import spec_of
from modelpack.server.faces.document import METHODS, TITLES, document_of
from modelpack.server.faces.registry import Faces

Start = Callable[..., Any]


@modelpack.service
class Demo:
    """Adds up."""

    @modelpack.api(batch=True, example={"x": [[1, 2, 3, 4], [5, 6, 7, 8]]})
    def predict(self, x: modelpack.Tensor["float32", "batch", 4]) -> list[float]:
        """Add up each row."""
        return [float(v) for v in x.sum(axis=1)]

    @modelpack.api
    def echo(self, text: str, times: int = 1) -> dict[str, Any]:
        return {"text": text * times}

    @modelpack.api
    def count(self, n: int = 3) -> Iterator[int]:
        yield from range(n)


@pytest.fixture(scope="module")
def server(start_once: Start, tmp_path_factory: pytest.TempPathFactory) -> Any:
    store = str(tmp_path_factory.mktemp("tasks") / "tasks.db")
    return start_once(Demo, faces=",".join(FACES), tasks=True, tasks_store=store)


@pytest.fixture(scope="module")
def document(server: Any) -> dict[str, Any]:
    found: dict[str, Any] = server.client.get("/openapi.json").json()
    return found


def operations(document: Mapping[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, item[method])
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    ]


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    validate(document)


def test_every_contract_that_is_on_has_a_tag_with_its_name(
    server: Any, document: dict[str, Any]
) -> None:
    faces = server.on_loop(lambda: server.server.versions.current.faces.names)

    tags = {tag["name"] for tag in document["tags"]}
    assert tags == {"apis", "health", *faces}
    assert set(faces) <= set(TITLES)
    used = {tag for _, _, one in operations(document) for tag in one["tags"]}
    assert used == tags


def test_no_id_comes_twice(document: dict[str, Any]) -> None:
    ids = [one["operationId"] for _, _, one in operations(document)]

    assert len(ids) == len(set(ids)) > 5


def test_everything_that_answers_is_described(server: Any, document: dict[str, Any]) -> None:
    described = [(method.upper(), path) for method, path, _ in operations(document)]
    faces = server.on_loop(lambda: server.server.versions.current.faces)
    asked = [("POST", door.path) for door in faces.doors]
    asked += [
        (method, route.path)
        for route in faces.routes
        if isinstance(route, Route)
        for method in sorted((route.methods or set()) - {"HEAD"})
    ]

    missing = []
    for method, path in asked:
        is_there = any(verb == method and stands_for(one, path) for verb, one in described)
        # Some paths are there to say what is wrong, and answer nothing.
        if not is_there and not refuses(server, method, path):
            missing.append(f"{method} {path}")
    assert missing == []


def stands_for(one: str, other: str) -> bool:
    """Say whether two paths may be the same, holes being filled."""
    pairs = zip(one.split("/"), other.split("/"), strict=False)
    return one.count("/") == other.count("/") and all(
        fits(first, second) or fits(second, first) for first, second in pairs
    )


def fits(pattern: str, text: str) -> bool:
    parts = re.split(r"\{[^}]*\}", pattern)
    return re.fullmatch("[^/]+".join(map(re.escape, parts)), text) is not None


def refuses(server: Any, method: str, path: str) -> bool:
    filled = re.sub(r"\{[^}]*\}", "nothing", path)
    return server.client.request(method, filled, json={}).status_code in (403, 404, 405, 501)


def test_everything_that_is_described_answers(server: Any, document: dict[str, Any]) -> None:
    """Every example is sent, and taken; a status that is not described is never seen."""
    wrong = []
    for method, path, one in operations(document):
        body = one.get("requestBody", {}).get("content", {}).get("application/json", {})
        if method == "post" and "example" not in body:
            continue
        there, is_open = path, False
        for hole in parameters(document, one, "path"):
            is_open = "enum" not in hole["schema"]  # such as the id of a task that there is not
            value = hole["schema"].get("enum", ["1"])[0]
            there = there.replace("{" + hole["name"] + "}", str(value))
        answer = server.client.request(method, there, json=body.get("example"))
        is_there = answer.status_code != 405 and (is_open or answer.status_code != 404)
        is_taken = not (body and answer.is_error)
        if str(answer.status_code) not in one["responses"] or not is_there or not is_taken:
            wrong.append(f"{method} {there}: {answer.status_code} {answer.text[:200]}")

    assert wrong == []


def parameters(
    document: Mapping[str, Any], one: Mapping[str, Any], where: str
) -> list[dict[str, Any]]:
    found = []
    for parameter in one.get("parameters", []):
        if "$ref" in parameter:
            name = parameter["$ref"].rpartition("/")[2]
            parameter = document["components"]["parameters"][name]
        if parameter["in"] == where:
            found.append(parameter)
    return found


def test_refusals_of_an_api_say_when_to_come_back(document: dict[str, Any]) -> None:
    responses = document["components"]["responses"]

    assert "Retry-After" in responses["429"]["headers"]
    assert "Retry-After" in responses["503"]["headers"]


# --- several contracts on one path -----------------------------------------------------------------


@dataclass
class Said:
    """A contract that is described, and answers nothing."""

    name: str
    items: dict[str, Any]
    doors: tuple[Any, ...] = ()
    routes: tuple[Any, ...] = ()

    def openapi(self) -> dict[str, Any]:
        return self.items


def described(*faces: Said, **settings: Any) -> dict[str, Any]:
    found: Any = Faces([], [])
    found.all = faces
    return document_of(spec_of(Demo), found, ServerSettings(**settings), version="1")


def one(summary: str) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": "Yes."}}}


def test_a_path_of_the_service_is_described_as_its_own_alone() -> None:
    document = described(
        Said("oip", {"/predict": {"post": one("Not this"), "get": one("Nor this")}})
    )

    assert set(document["paths"]["/predict"]) == {"post"}
    assert document["paths"]["/predict"]["post"]["tags"] == ["apis"]


def test_of_two_contracts_the_first_describes_what_both_have() -> None:
    document = described(
        Said("kserve", {"/v1/models": {"get": one("First")}}),
        Said("tfserving", {"/v1/models": {"get": one("Second"), "post": one("Third")}}),
    )

    item = document["paths"]["/v1/models"]
    assert item["get"].pop("tags") == ["kserve", "tfserving"]
    assert item["get"] == {
        "operationId": "kserve.get.v1.models",
        **one("First"),
    }
    assert item["post"]["tags"] == ["tfserving"]
    validate(document)


def test_paths_that_differ_in_signs_alone_have_ids_of_their_own() -> None:
    document = described(Said("oip", {"/a-b": {"get": one("1")}, "/a.b": {"get": one("2")}}))

    ids = [document["paths"][path]["get"]["operationId"] for path in ("/a-b", "/a.b")]
    assert ids == ["oip.get.a.b", "oip.get.a.b.2"]


def test_metrics_that_are_asked_for_elsewhere_are_not_in_the_document() -> None:
    assert "/metrics" in described()["paths"]
    assert "/metrics" not in described(metrics_port=9000)["paths"]


def test_every_contract_has_a_title() -> None:
    assert set(FACES) <= set(TITLES)


def test_the_document_is_made_once_and_says_what_it_is(start: Start) -> None:
    running = start(Demo)
    first = running.client.get("/openapi.json")

    assert first.headers["content-type"] == "application/json"
    assert first.content == running.client.get("/openapi.json").content
