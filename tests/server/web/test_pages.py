"""Pages for people: complete, without a request to anywhere else, and only for hosts they know."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import modelpack
from modelpack.server.web import pages
from modelpack.server.web.pages import allowed_hosts, host_name

Start = Callable[..., Any]


@modelpack.service
class Demo:
    """Doubles numbers."""

    @modelpack.api(batch=True)
    def double(self, x: list[int]) -> list[int]:
        """Double each."""
        return [n * 2 for n in x]


@pytest.fixture(scope="module")
def server(start_once: Start) -> Any:
    return start_once(Demo)


PAGES = ["/docs", "/openapi.json", *(path for path in pages._FILES)]


@pytest.mark.parametrize("path", sorted(set(PAGES)))
def test_every_page_is_there_with_its_type_and_security_headers(server: Any, path: str) -> None:
    answer = server.client.get(path, headers={"accept": "text/html,*/*"})

    assert answer.status_code == 200
    assert answer.content
    kind = answer.headers["content-type"].partition(";")[0]
    ending = path.rpartition(".")[2] if "." in path else "html"
    assert kind in {
        "html": ["text/html"], "js": ["text/javascript"], "css": ["text/css"],
        "png": ["image/png"], "json": ["application/json"],
    }[ending]  # fmt: skip
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe-inline" not in re.findall("script-src[^;]*", answer.headers["content-security-policy"])[0]  # fmt: skip


@pytest.mark.parametrize(
    "path", [p for p, (name, _) in pages._FILES.items() if name.endswith("html")]
)
def test_pages_load_only_what_this_server_has(server: Any, path: str) -> None:
    html = server.client.get(path, headers={"accept": "text/html,*/*"}).text

    links = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert links
    for link in links:
        assert link.startswith("/")
        assert server.client.get(link).status_code == 200
    assert "<script>" not in html
    assert not re.search(r"\son\w+=", html)


def test_the_document_describes_what_is_served(server: Any) -> None:
    document = server.client.get("/openapi.json").json()

    assert document["info"]["title"] == "demo"
    assert document["info"]["version"] == "1"
    body = document["paths"]["/double"]["post"]["requestBody"]["content"]["application/json"]
    assert server.post("/double", body["example"]).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:3000", "127.0.0.1:1", "[::1]:3000", "192.168.1.5", "10.0.0.1:80"],
)
def test_known_names_and_addresses_are_answered(server: Any, host: str) -> None:
    assert server.client.get("/docs", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil", ""])
@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/static/docs.js"])
def test_foreign_names_are_refused_on_pages(server: Any, host: str, path: str) -> None:
    answer = server.client.get(path, headers={"host": host, "accept": "text/html"})

    assert answer.status_code == 403
    assert answer.json()["code"] == "host-refused"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_probes_and_scrapes_come_with_any_host(server: Any, path: str) -> None:
    assert server.client.get(path, headers={"host": "pod.example"}).status_code == 200


def test_calls_come_with_any_host(server: Any) -> None:
    answer = server.post("/double", {"x": [1]}, headers={"host": "svc.example"})

    assert answer.json() == [2]


def test_more_hosts_can_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELPACK_ALLOWED_HOSTS", "One.example, two.example")

    hosts = allowed_hosts("0.0.0.0")

    assert {"one.example", "two.example", "localhost", "0.0.0.0"} <= hosts


@pytest.mark.parametrize(
    ("header", "name"),
    [("A:1", "a"), ("[::1]:5", "::1"), ("[::1]", "::1"), ("a.b", "a.b"), ("", ""), (":80", "")],
)
def test_a_host_is_told_from_its_port(header: str, name: str) -> None:
    assert host_name(header) == name


@pytest.mark.parametrize(
    "path",
    [
        "/static/../pages.py",
        "/static/%2e%2e/pages.py",
        "/static/..%2fpages.py",
        "/static//etc/passwd",
        "/static/",
        "/static/swagger/LICENSE",
        "/docs/",
        "//docs",
    ],
)
def test_no_other_file_can_be_reached(server: Any, path: str) -> None:
    (answer,) = server.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    assert answer.status == 404
    assert json.loads(answer.body)["code"] == "not-found"


def test_the_licences_of_what_is_vendored_lie_beside_it() -> None:
    folder = Path(pages.__file__).parent / "static" / "swagger"

    assert "Apache License" in (folder / "LICENSE").read_text()
    assert "SmartBear" in (folder / "NOTICE").read_text()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_pages_are_only_read(server: Any, method: str) -> None:
    answer = server.client.request(method, "/docs")

    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


def test_a_head_request_has_the_head_of_the_answer(server: Any) -> None:
    answer = server.client.head("/docs")

    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) > 100
