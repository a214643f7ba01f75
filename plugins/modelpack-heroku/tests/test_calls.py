"""How Heroku is asked: pages, refusals in our words, keys that stay where they belong."""

from __future__ import annotations

import pytest
from modelpack_heroku.calls import Calls
from modelpack_heroku.loglines import text_of
from modelpack_heroku.refusals import NameTakenError, refusal

from modelpack.errors import (
    ConflictError,
    CredentialsError,
    DeployError,
    ModelpackError,
    NotFoundError,
    RefusedError,
    UnreachableError,
    UsageError,
)

from .fake_heroku import App, FakeHeroku


def test_a_list_is_read_to_its_last_page(heroku: FakeHeroku) -> None:
    names = [f"app-{n}" for n in range(5)]
    heroku.apps = {name: App(name, {}, heroku.url, heroku.now) for name in names}

    assert [one["name"] for one in heroku.asked().listed("/apps", "list")] == names
    newest = heroku.asked().listed("/apps/app-1/releases", "read", newest=1)
    assert [one["version"] for one in newest] == [2]


def test_a_wrong_request_never_leaves(heroku: FakeHeroku) -> None:
    with pytest.raises(UsageError, match="would be refused"):
        heroku.asked().call("POST", "/apps", "make it", {"nam": "x"})
    assert heroku.calls == []


def test_what_changes_something_is_not_sent_twice_when_its_answer_is_lost(
    heroku: FakeHeroku,
) -> None:
    heroku.fault = lambda _: "lost"
    with pytest.raises(UnreachableError, match="cannot make it"):
        heroku.asked().call("POST", "/apps", "make it", {"name": "words"})
    assert heroku.calls == ["POST /apps"]
    assert list(heroku.apps) == ["words"]


def test_who_answers_without_json_is_not_heroku(heroku: FakeHeroku) -> None:
    heroku.apps["words"] = App("words", {}, heroku.url, heroku.now)
    calls = heroku.asked()
    calls.endpoint = f"{heroku.url}/logs/words/1/end"
    with pytest.raises(DeployError, match="what answered is not Heroku"):
        calls.call("GET", "/apps", "look")
    with pytest.raises(DeployError, match="what answered is not Heroku"):
        list(calls.stream("file:///etc/passwd"))


def test_nobody_there_is_said_with_what_to_look_at(heroku: FakeHeroku) -> None:
    calls = Calls(endpoint="http://127.0.0.1:1", clock=heroku.asked().clock)
    with pytest.raises(UnreachableError, match="cannot look: ") as caught:
        calls.call("GET", "/apps", "look")
    assert "endpoint" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (401, b'{"id":"unauthorized","message":"Invalid"}', CredentialsError, "cannot x: Invalid"),
        (403, b'{"id":"forbidden","message":"No"}', RefusedError, "not permitted to x: No"),
        (402, b'{"id":"delinquent","message":"Pay"}', RefusedError, "not permitted to x: Pay"),
        (404, b'{"id":"not_found","message":"Gone"}', NotFoundError, "cannot x: Gone"),
        (409, b'{"id":"conflict","message":"Busy"}', ConflictError, "cannot x: Busy"),
        (422, b'{"message":"Name y is already taken"}', NameTakenError, "already taken"),
        (422, b'{"id":"invalid_params","message":"Bad"}', DeployError, "cannot x: Bad"),
        (429, b'{"id":"rate_limit","message":"Slow"}', DeployError, "cannot x: Slow"),
        (502, b"<html>bad gateway", DeployError, "cannot x: HTTP 502"),
        (500, b"[1]", DeployError, "cannot x: HTTP 500"),
        (400, b'{"message":"two\\nlines\\u001b[31m"}', DeployError, "cannot x: two lines"),
    ],
)
def test_a_refusal_is_told_in_one_line(
    status: int, body: bytes, kind: type[ModelpackError], said: str
) -> None:
    error = refusal(status, body, "x")
    assert type(error) is kind
    assert said in error.message
    assert error.message.isprintable()


def test_a_line_of_the_log_is_what_the_process_wrote() -> None:
    head = "2026-01-01T00:00:01.5+00:00"
    assert text_of(f'{head} app[web.1]: {{"event": "ready"}}') == '{"event": "ready"}'
    assert text_of(f"{head} heroku[router]: at=info") == "at=info"
    assert text_of(f"{head} app[web.1]:") == ""
    assert text_of("something else") == "something else"
