"""Tasks over a socket: taken in, run, fetched; what goes wrong is said as the service says it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from openapi_spec_validator import validate

ARRAY = np.array([[1, 2], [3, 4]], np.float32)
AS_BYTES = {
    "content-type": "application/octet-stream",
    "modelpack-dtype": "float32",
    "modelpack-shape": "2,2",
}


@pytest.mark.parametrize(
    ("api", "sent"),
    [
        ("double", {"json": {"x": [1, 2, 3]}}),
        ("scale", {"json": {"x": ARRAY.tolist()}}),
        ("scale", {"content": ARRAY.tobytes(), "headers": AS_BYTES}),
        (
            "scale",
            {
                "content": ARRAY.tobytes(),
                "headers": {**AS_BYTES, "accept": "application/octet-stream"},
            },
        ),
        (
            "scale",
            {"json": {"x": ARRAY.tolist()}, "headers": {"accept": "application/x-npy"}},
        ),
        (
            "shout",
            {"content": b"a \0 file", "headers": {"content-type": "application/octet-stream"}},
        ),
        ("shout", {"files": {"data": b"in a form"}}),
        ("count", {"json": {"to": 3}}),
        ("count", {"json": {"to": 3}, "headers": {"accept": "text/event-stream"}}),
    ],
)
def test_a_result_is_what_the_api_answers_byte_for_byte(
    client: Any, api: str, sent: dict[str, Any]
) -> None:
    native = client.http.post(f"/{api}", **sent)

    result = client.result(client.submit(api, **sent))

    assert native.status_code == result.status_code == 200
    assert result.content == native.content
    assert result.headers["content-type"] == native.headers["content-type"]
    for name in ("modelpack-dtype", "modelpack-shape"):
        assert result.headers.get(name) == native.headers.get(name)


@pytest.mark.parametrize(
    ("api", "body", "status", "code"),
    [
        ("fail", {"why": "a secret"}, 500, "model-error"),
        ("refuse", {"why": "not today"}, 422, "refused-input"),
        ("count", {"to": 2, "fail": True}, 500, "model-error"),
    ],
)
def test_a_failure_is_the_problem_that_the_api_would_answer(
    client: Any, api: str, body: dict[str, Any], status: int, code: str
) -> None:
    task = client.submit(api, body, headers={"x-request-id": "mine-7"})
    over, result = client.over(task), client.result(task)

    assert over["status"] == "failed"
    assert over["error"] == {"status": status, "code": code}
    assert result.status_code == status
    assert result.headers["content-type"] == "application/problem+json"
    assert (result.json()["code"], result.json()["request_id"]) == (code, "mine-7")
    assert "a secret" not in result.text


def test_what_is_taken_in_says_where_it_is(client: Any) -> None:
    answer = client.post("double", {"x": [1]})
    task = answer.json()

    assert answer.status_code == 202
    assert answer.headers["location"] == task["url"] == f"/tasks/{task['id']}"
    over = client.over(task)
    assert over["created_at"] <= over["started_at"] <= over["finished_at"] < over["expires_at"]
    assert (over["status"], over["runs"], over["api"]) == ("succeeded", 1, "double")


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ({"json": {"x": "one"}}, 400, "bad-input"),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "bad-json"),
        (
            {"content": b"x", "headers": {"content-type": "text/plain"}},
            415,
            "unsupported-media-type",
        ),
        (
            {"json": {"x": [1]}, "headers": {"modelpack-priority": "now"}},
            400,
            "bad-request",
        ),
        (
            {"json": {"x": [1]}, "headers": {"x-request-timeout-ms": "soon"}},
            400,
            "bad-request",
        ),
        ({"json": {"x": [1]}, "headers": {"idempotency-key": "k" * 256}}, 400, "bad-request"),
        (
            {"json": {"x": [1]}, "headers": {"modelpack-webhook": "https://example.com/"}},
            403,
            "webhook-refused",
        ),
    ],
)
def test_what_does_not_fit_is_refused_at_once(
    client: Any, sent: dict[str, Any], status: int, code: str
) -> None:
    before = client.metric('modelpack_tasks_total{api="double",event="submitted"}')

    answer = client.post("double", **sent)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert client.metric('modelpack_tasks_total{api="double",event="submitted"}') == before


def test_a_body_that_is_too_long_is_not_taken_in(
    start: Callable[..., Any], service: type, tmp_path: Any, asking: Callable[[str], Any]
) -> None:
    running = start(service, tasks=True, tasks_store=str(tmp_path / "t"), max_body_bytes=100)

    answer = asking(running.url).post("shout", files={"data": b"x" * 200})

    assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/tasks/other", 404, "not-found"),
        ("GET", "/tasks/none", 404, "unknown-task"),
        ("GET", "/tasks/none/result", 404, "unknown-task"),
        ("DELETE", "/tasks/none", 404, "unknown-task"),
        ("POST", "/tasks/none/cancel", 404, "unknown-task"),
        ("POST", "/tasks/none/retry", 404, "unknown-task"),
        ("PUT", "/tasks/none", 405, "method-not-allowed"),
        ("GET", "/tasks", 403, "list-refused"),
    ],
)
def test_what_is_not_there_is_a_problem_of_ours(
    client: Any, method: str, path: str, status: int, code: str
) -> None:
    answer = client.http.request(method, path)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_api_that_is_not_there_is_named(client: Any) -> None:
    assert client.post("doubl", {}).json()["detail"] == "no api 'doubl', did you mean 'double'?"


@pytest.mark.parametrize(("api", "body"), [("double", {"x": [1]}), ("count", {"to": 1})])
def test_tasks_are_counted_as_such(client: Any, api: str, body: dict[str, Any]) -> None:
    def count() -> float:
        line = f'modelpack_face_requests_total{{api="{api}",face="tasks"}} '
        page = client.http.get("/metrics").text
        return float(page.partition(line)[2].partition("\n")[0] or 0)

    before = count()
    client.over(client.submit(api, body))

    assert count() == before + 1


# --- the same task only once --------------------------------------------------------------------


def test_the_same_key_and_body_are_the_same_task(client: Any) -> None:
    key = {"idempotency-key": "order-1"}
    first = client.submit("double", {"x": [1]}, headers=key)
    client.over(first)

    again = client.submit("double", {"x": [1]}, headers={"idempotency-key": '"order-1"'})

    assert again["id"] == first["id"]
    assert client.over(first)["runs"] == 1
    other = client.post("double", {"x": [2]}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    assert client.submit("nap", {"seconds": 0}, headers=key)["id"] != first["id"]


def test_of_many_with_one_key_at_once_one_runs(client: Any, later: Any) -> None:
    ids: list[str] = []

    def submit() -> None:
        with later.fresh_client() as http:
            answer = http.post(
                "/tasks/double", json={"x": [5]}, headers={"idempotency-key": "many"}
            )
            ids.append(answer.json()["id"])

    threads = [threading.Thread(target=submit) for _ in range(16)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert len(ids) == 16
    assert len(set(ids)) == 1


# --- ending -------------------------------------------------------------------------------------


def test_a_task_that_is_cancelled_ends_and_has_no_result(client: Any, later: Any) -> None:
    task = client.submit("nap", {"seconds": 60})
    later.wait_until(lambda: client.http.get(task["url"]).json()["status"] == "running")
    waiting = client.http.get(task["result_url"])
    assert (waiting.status_code, waiting.json()["status"]) == (202, "running")

    answer = client.http.post(task["url"] + "/cancel")

    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    later.wait_until(lambda: client.metric('modelpack_in_flight_requests{api="nap"}') == 0)
    gone = client.http.get(task["result_url"])
    assert (gone.status_code, gone.json()["code"]) == (410, "task-cancelled")
    again = client.http.post(task["url"] + "/cancel")
    assert again.status_code == 200  # it is what was asked for


def test_what_is_over_is_not_cancelled_and_only_what_failed_is_tried_again(client: Any) -> None:
    done = client.submit("double", {"x": [1]})
    failed = client.submit("fail", {"why": "no"})
    client.over(done)
    client.over(failed)

    refused = [client.http.post(done["url"] + word) for word in ("/cancel", "/retry")]
    again = client.http.post(failed["url"] + "/retry")

    assert [(one.status_code, one.json()["code"]) for one in refused] == [(409, "task-state")] * 2
    assert (again.status_code, again.json()["status"]) == (202, "queued")
    assert client.over(failed)["runs"] == 2


def test_what_is_thrown_away_is_gone(client: Any) -> None:
    task = client.submit("double", {"x": [1]}, headers={"idempotency-key": "short-lived"})
    client.over(task)

    answer = client.http.delete(task["url"])

    assert (answer.status_code, answer.content) == (204, b"")
    assert "content-length" not in answer.headers

    for method, path in (("GET", ""), ("GET", "/result"), ("DELETE", ""), ("POST", "/retry")):
        asked = {"prefer": "wait=20"}  # there is nothing to wait for
        answer = client.http.request(method, task["url"] + path, headers=asked, timeout=5)
        assert (answer.status_code, answer.json()["code"]) == (410, "task-gone")
    anew = client.submit("double", {"x": [2]}, headers={"idempotency-key": "short-lived"})
    assert anew["id"] != task["id"]


# --- running ------------------------------------------------------------------------------------


def test_who_prefers_to_wait_hears_of_the_end_at_once(client: Any) -> None:
    task = client.submit("nap", {"seconds": 0.3})
    began = time.monotonic()

    answer = client.http.get(task["result_url"], headers={"prefer": "respond-async, wait=20"})
    while answer.status_code == 202:  # no longer than a request may take
        answer = client.http.get(task["result_url"], headers={"prefer": "wait=20"})

    assert answer.json() == 0.3
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("api", ["work", "nap"])
def test_a_run_may_take_longer_than_a_request(client: Any, api: str) -> None:
    task = client.submit(api, {"seconds": 1.5})

    over = client.over(task)

    assert (over["status"], over["runs"]) == ("succeeded", 1)
    assert client.http.post(f"/{api}", json={"seconds": 0.01}).status_code == 200


@pytest.mark.parametrize("api", ["work", "nap"])
def test_a_run_that_takes_longer_than_its_task_allows_fails(client: Any, api: str) -> None:
    task = client.submit(api, {"seconds": 1.2}, headers={"x-request-timeout-ms": "100"})

    assert client.over(task)["error"] == {"status": 504, "code": "timeout"}


def test_of_an_api_that_shares_nothing_one_task_runs_at_a_time_by_priority(
    client: Any, later: Any
) -> None:
    instance = later.server.versions.place.replicas[0].instance
    instance.gate.clear()
    instance.order.clear()
    first = client.submit("hold", {"name": "first"})
    later.wait_until(lambda: instance.order == ["first"])
    tasks = [
        client.submit("hold", {"name": name}, headers={"modelpack-priority": name})
        for name in ("low", "normal", "high")
    ]
    states = [client.http.get(one["url"]).json()["status"] for one in tasks]

    instance.gate.set()

    assert states == ["queued"] * 3
    assert [client.over(one)["status"] for one in (first, *tasks)] == ["succeeded"] * 4
    assert instance.order == ["first", "high", "normal", "low"]


def test_many_tasks_share_batches(client: Any) -> None:
    tasks = [client.submit("double", {"x": [n]}) for n in range(40)]

    assert [client.result(one).json() for one in tasks] == [[n * 2] for n in range(40)]


# --- limits, lists, descriptions ----------------------------------------------------------------


def test_beyond_the_limits_tasks_are_refused_until_some_go(
    start: Callable[..., Any], service: type, tmp_path: Any, asking: Callable[[str], Any]
) -> None:
    running = start(
        service, tasks=True, tasks_store=str(tmp_path / "t"), tasks_max=3, tasks_max_bytes=100
    )
    client = asking(running.url)
    first = client.submit("shout", files={"data": b"x" * 50})
    result = client.result(first)

    too_long = client.post("shout", files={"data": b"x" * 60})
    small = [client.submit("double", {"x": [n]}) for n in range(2)]
    too_many = client.post("double", {"x": [9]})

    assert result.content == b"X" * 50
    for answer in (too_long, too_many):
        assert (answer.status_code, answer.json()["code"]) == (429, "tasks-full")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    client.over(small[0])
    client.http.delete(small[0]["url"])
    assert client.post("double", {"x": [9]}).status_code == 202


def test_tasks_are_listed_where_that_is_allowed(
    start: Callable[..., Any], service: type, tmp_path: Any, asking: Callable[[str], Any]
) -> None:
    running = start(service, tasks=True, tasks_store=str(tmp_path / "t"), tasks_list=True)
    client = asking(running.url)
    tasks = [client.submit("double", {"x": [n]}) for n in range(4)]
    failed = client.submit("fail", {"why": "no"})
    for one in (*tasks, failed):
        client.over(one)

    def ids(query: str) -> list[str]:
        return [one["id"] for one in client.http.get(f"/tasks{query}").json()["tasks"]]

    page = client.http.get("/tasks?limit=2").json()
    assert [one["id"] for one in page["tasks"]] == [failed["id"], tasks[3]["id"]]
    assert ids(page["next"].removeprefix("/tasks")) == [tasks[n]["id"] for n in (2, 1)]
    chosen = client.http.get("/tasks?api=double&status=succeeded&limit=3").json()
    assert ids(chosen["next"].removeprefix("/tasks")) == [tasks[0]["id"]]
    assert ids("?status=failed") == [failed["id"]]
    assert ids("?api=double&limit=1") == [tasks[3]["id"]]
    for query in ("?status=odd", "?limit=many", "?before=-1", "?a=1" + "&a=1" * 16):
        answer = client.http.get(f"/tasks{query}")
        assert (answer.status_code, answer.json()["code"]) == (400, "bad-request")
    document = client.http.get("/openapi.json").json()
    assert "get" in document["paths"]["/tasks"]


def test_the_document_describes_tasks(client: Any) -> None:
    document = client.http.get("/openapi.json").json()

    validate(document)
    tasks = {path: set(item) for path, item in document["paths"].items() if "/tasks/" in path}
    assert tasks["/tasks/double"] == {"post"}
    assert tasks["/tasks/{id}"] == {"get", "delete"}
    assert {"/tasks/{id}/result", "/tasks/{id}/cancel", "/tasks/{id}/retry"} <= tasks.keys()
    submit = document["paths"]["/tasks/double"]["post"]
    example = submit["requestBody"]["content"]["application/json"]["example"]
    assert client.post("double", example).status_code == 202


def test_what_became_of_tasks_is_counted(client: Any) -> None:
    def counts() -> list[float]:
        lines = [
            f'{{api="nap",event="{word}"}}' for word in ("submitted", "succeeded", "cancelled")
        ]
        return [client.metric(f"modelpack_tasks_total{line}") for line in lines]

    before = counts()
    client.over(client.submit("nap", {"seconds": 0}))
    task = client.submit("nap", {"seconds": 60})
    client.http.post(task["url"] + "/cancel")

    assert [now - then for now, then in zip(counts(), before, strict=True)] == [2, 1, 1]


def test_without_the_setting_there_are_no_tasks(start: Callable[..., Any], service: type) -> None:
    running = start(service)

    answer = running.post("/tasks/double", {"x": [1]})

    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


# --- clients of BentoML -------------------------------------------------------------------------


def test_clients_of_bentoml_find_their_paths(client: Any, later: Any) -> None:
    http: httpx.Client = client.http
    task = http.post("/double/submit", json={"x": [4]}).json()
    assert task.keys() == {"task_id", "status"}
    assert task["status"] == "in_progress"
    asked = {"task_id": task["task_id"]}

    def status() -> str:
        return str(http.get("/double/status", params=asked).json()["status"])

    later.wait_until(lambda: status() == "completed")
    assert http.get("/double/status", params=asked).json().keys() == {
        "task_id", "status", "created_at", "executed_at",
    }  # fmt: skip
    assert http.get("/double/get", params=asked).json() == [8]
    assert http.post("/double/retry", params=asked).status_code == 400


def test_what_bentoml_refuses_is_refused_in_its_words(client: Any) -> None:
    http: httpx.Client = client.http
    asked = {"task_id": http.post("/nap/submit", json={"seconds": 60}).json()["task_id"]}

    early = http.get("/nap/get", params=asked)
    without = http.get("/nap/status")
    unknown = http.get("/nap/status", params={"task_id": "none"})
    bad = http.post("/nap/submit", json={"seconds": "long"})
    cancelled = http.put("/nap/cancel", params=asked)

    assert [one.status_code for one in (early, without, unknown, bad)] == [400, 400, 404, 400]
    assert all(one.json().keys() == {"error"} for one in (early, without, unknown, bad))
    assert cancelled.json() == {**asked, "status": "canceled"}
