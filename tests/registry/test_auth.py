from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.errors import LoginNeededError, RefusedError, RegistryError
from modelpack.registry.auth import Authority, Challenge, read_challenges
from modelpack.registry.credentials import Credentials

ME = Credentials("me", "secret")
BEARER = 'Bearer realm="https://auth.example/token?x=1",service="registry.example"'
PULL = ("repository:x:pull",)


class TokenServer:
    """Gives numbered tokens and remembers who asked for what."""

    def __init__(self, status: int = 200, body: bytes | None = None) -> None:
        self.status = status
        self.body = body
        self.asked: list[tuple[str, str, Mapping[str, str], bytes]] = []

    def __call__(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes]:
        self.asked.append((method, url, headers, body))
        token = b'{"token":"t%d","expires_in":300}' % len(self.asked)
        return self.status, self.body if self.body is not None else token


def authority(
    server: TokenServer,
    found: Credentials | None = ME,
    *,
    host: str = "registry.example",
    allow_plain: bool = False,
) -> tuple[Authority, list[float]]:
    now = [0.0]
    made = Authority(host, lambda: found, server, allow_plain=allow_plain, clock=lambda: now[0])
    return made, now


@pytest.mark.parametrize(
    ("header", "challenges"),
    [
        ("", []),
        ('Basic realm="x"', [Challenge("basic", {"realm": "x"})]),
        ("Negotiate", [Challenge("negotiate", {})]),
        (
            'Bearer realm="https://a/t",service="s",scope="repository:x:pull,push"',
            [
                Challenge(
                    "bearer",
                    {"realm": "https://a/t", "service": "s", "scope": "repository:x:pull,push"},
                )
            ],
        ),
        (
            'Basic realm="a \\" b", Bearer realm=https://a/t , service=s',
            [
                Challenge("basic", {"realm": 'a " b'}),
                Challenge("bearer", {"realm": "https://a/t", "service": "s"}),
            ],
        ),
    ],
)
def test_challenges_are_read(header: str, challenges: list[Challenge]) -> None:
    assert read_challenges(header) == challenges


@given(st.text(alphabet='Bearer realm="=,\\x ', max_size=60))
def test_any_header_can_be_read(header: str) -> None:
    read_challenges(header)


def test_nothing_is_said_before_it_is_asked_for() -> None:
    assert authority(TokenServer())[0].header(PULL) is None


def test_basic_is_the_password_once() -> None:
    asked, _ = authority(TokenServer())
    assert asked.answer('Basic realm="x"', PULL, None) == ME.basic
    assert asked.header(PULL) == ME.basic
    assert asked.answer('Basic realm="x"', PULL, ME.basic) is None


def test_a_token_is_fetched_once_for_each_scope_until_it_expires() -> None:
    server = TokenServer()
    asked, now = authority(server)
    assert asked.answer(BEARER, PULL, None) == "Bearer t1"
    assert asked.header(PULL) == "Bearer t1"
    assert asked.header(("repository:x:pull,push", "repository:y:pull")) == "Bearer t2"
    now[0] = 299
    assert asked.header(PULL) == "Bearer t3"
    method, url, headers, _ = server.asked[1]
    query = parse_qs(urlsplit(url).query)
    assert (method, headers["Authorization"]) == ("GET", ME.basic)
    assert query["scope"] == ["repository:x:pull,push", "repository:y:pull"]
    assert (query["service"], query["x"]) == (["registry.example"], ["1"])


def test_a_token_that_is_refused_is_fetched_anew() -> None:
    asked, _ = authority(TokenServer())
    first = asked.answer(BEARER, PULL, None)
    assert asked.answer(BEARER, PULL, first) == "Bearer t2"


def test_without_a_login_a_token_is_asked_for_by_nobody() -> None:
    server = TokenServer()
    asked, _ = authority(server, None)
    assert asked.answer(BEARER, PULL, None) == "Bearer t1"
    assert "Authorization" not in server.asked[0][2]


def test_a_refresh_token_goes_in_the_body() -> None:
    server = TokenServer()
    asked, _ = authority(server, Credentials("<token>", "refresh"))
    asked.answer(BEARER, PULL, None)
    method, url, _, body = server.asked[0]
    assert method == "POST"
    assert "refresh" not in url
    assert parse_qs(body.decode())["refresh_token"] == ["refresh"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_says_how_to_log_in(status: int) -> None:
    asked, _ = authority(TokenServer(status, b""))
    with pytest.raises(LoginNeededError) as caught:
        asked.answer(BEARER, PULL, None)
    assert "modelpack login registry.example" in str(caught.value.hint)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"token":7}', b'{"token":"a\\nb"}'])
def test_an_answer_without_a_token_is_said(body: bytes) -> None:
    asked, _ = authority(TokenServer(200, body))
    with pytest.raises(RegistryError, match="gave no token"):
        asked.answer(BEARER, PULL, None)


@pytest.mark.parametrize(
    "realm", ["http://auth.example/token", "ftp://x/y", "", "file:///etc", "http://127.0.0.1/token"]
)
def test_a_password_goes_nowhere_without_tls(realm: str) -> None:
    server = TokenServer()
    asked, _ = authority(server)
    with pytest.raises(RefusedError, match="not safe"):
        asked.answer(f'Bearer realm="{realm}"', PULL, None)
    assert server.asked == []


def test_a_registry_of_this_machine_may_name_a_realm_of_this_machine_alone() -> None:
    asked, _ = authority(TokenServer(), host="127.0.0.1:5000", allow_plain=True)
    assert asked.answer('Bearer realm="http://localhost:1/t"', PULL, None) == "Bearer t1"
    with pytest.raises(RefusedError):
        asked.answer('Bearer realm="http://auth.example/t"', (), None)
