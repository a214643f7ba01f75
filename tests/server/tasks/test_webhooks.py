"""Who asked to be told is told, in a form that can be checked, and nobody else is spoken to."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from modelpack.errors import UsageError
from modelpack.server.tasks.webhooks import (
    DELAYS_S,
    SECRET,
    Answer,
    Hosts,
    deliver,
    pause_s,
    secrets_from,
    signed,
)

OLD, NEW = (base64.b64encode(bytes([one]) * 24).decode() for one in (1, 2))


@dataclass
class Receiver:
    """Takes messages, or refuses them."""

    url: str
    answers: list[int] = field(default_factory=list)
    """Statuses of the next answers; then 200."""
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture(scope="module")
def receiving() -> Iterator[Receiver]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            made.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
            status = made.answers.pop(0) if made.answers else 200
            self.send_response(status)
            if status == 302:
                self.send_header("location", made.url + "elsewhere")
            self.end_headers()

        def log_message(self, format: str, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Receiver(f"http://127.0.0.1:{server.server_port}/")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def receiver(receiving: Receiver) -> Receiver:
    receiving.answers.clear()
    receiving.got.clear()
    return receiving


@pytest.fixture(scope="module")
def told(
    start_once: Callable[..., Any],
    service: type,
    receiving: Receiver,
    tmp_path_factory: pytest.TempPathFactory,
    ask_once: Callable[[str], Any],
) -> Any:
    """A client of a server that may speak to the receiver."""
    chosen = {
        "tasks_store": str(tmp_path_factory.mktemp("told") / "tasks"),
        "tasks_webhook_hosts": receiving.url.rstrip("/"),
    }
    with pytest.MonkeyPatch.context() as variables:
        variables.setenv(SECRET, f"whsec_{NEW} {OLD}")
        running = start_once(service, tasks=True, **chosen)
    return ask_once(running.url)


def counts(client: Any) -> dict[str, float]:
    words = ("delivered", "failed", "given-up")
    return {one: client.metric(f'modelpack_webhooks_total{{outcome="{one}"}}') for one in words}


def wait_for(receiver: Receiver, count: int) -> None:
    end = time.monotonic() + 20
    while len(receiver.got) < count:
        assert time.monotonic() < end, "nobody was told"
        time.sleep(0.01)


def is_signed(headers: dict[str, str], body: bytes, secret: str) -> bool:
    """Check a message as the specification of Standard Webhooks says, and no code of ours."""
    content = b".".join(
        (headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body)
    )
    mine = hmac.new(base64.b64decode(secret), content, hashlib.sha256).digest()
    given = [one.split(",") for one in headers["webhook-signature"].split(" ")]
    return ["v1", base64.b64encode(mine).decode()] in given


def test_the_end_of_a_task_is_told_with_its_result_and_signed(
    told: Any, receiver: Receiver
) -> None:
    task = told.submit("double", {"x": [1, 2]}, headers={"modelpack-webhook": receiver.url + "a?b"})
    wait_for(receiver, 1)

    headers, body = receiver.got[0]

    message = json.loads(body)
    assert message["type"] == "task.succeeded"
    assert message["data"] == {**told.over(task), "result": [2, 4]}
    assert message["timestamp"] == message["data"]["finished_at"]
    assert is_signed(headers, body, OLD)
    assert is_signed(headers, body, NEW)
    assert not is_signed(headers, body + b" ", NEW)
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert headers["content-type"] == "application/json"


def test_the_official_library_takes_the_message(told: Any, receiver: Receiver) -> None:
    told.submit("double", {"x": [3]}, headers={"modelpack-webhook": receiver.url})
    wait_for(receiver, 1)
    headers, body = receiver.got[0]

    for secret in (OLD, NEW):
        message = Webhook(f"whsec_{secret}").verify(body, headers)
        assert message["data"]["result"] == [6]
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + base64.b64encode(b"o" * 24).decode()).verify(body, headers)


@pytest.mark.parametrize(
    ("api", "sent", "kind"),
    [
        ("fail", {"json": {"why": "no"}}, "failed"),
        ("shout", {"files": {"data": b"x"}}, "succeeded"),
    ],
)
def test_what_is_no_short_json_is_told_without_it(
    told: Any, receiver: Receiver, api: str, sent: dict[str, Any], kind: str
) -> None:
    told.submit(api, **sent, headers={"modelpack-webhook": receiver.url})
    wait_for(receiver, 1)

    message = json.loads(receiver.got[0][1])

    assert message["type"] == f"task.{kind}"
    assert "result" not in message["data"]


def test_a_message_comes_again_until_it_is_taken_and_is_the_same(
    told: Any, receiver: Receiver
) -> None:
    before = counts(told)
    receiver.answers[:] = [500]
    told.submit("double", {"x": [1]}, headers={"modelpack-webhook": receiver.url})
    wait_for(receiver, 2)

    (first, body), (second, again) = receiver.got
    assert first["webhook-id"] == second["webhook-id"]
    assert body == again
    assert is_signed(second, again, NEW)
    end = time.monotonic() + 20
    while counts(told)["delivered"] == before["delivered"]:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert counts(told) == {
        "delivered": before["delivered"] + 1,
        "failed": before["failed"] + 1,
        "given-up": before["given-up"],
    }


@pytest.mark.parametrize("status", [302, 410])
def test_a_redirect_is_not_followed_and_who_is_gone_is_left_alone(
    told: Any, receiver: Receiver, status: int
) -> None:
    before = counts(told)["given-up"]
    receiver.answers[:] = [status, 410]
    told.submit("double", {"x": [1]}, headers={"modelpack-webhook": receiver.url})
    end = time.monotonic() + 20
    while counts(told)["given-up"] == before:
        assert time.monotonic() < end
        time.sleep(0.05)

    assert len(receiver.got) == (2 if status == 302 else 1)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "https://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://127.0.0.1:{port}@example.com/",
        "http://user@127.0.0.1:{port}/",
        "http://127.1:{port}/",
        "http://2130706433:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://127.0.0.1.example.com:{port}/",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "//127.0.0.1:{port}/",
        "http://127.0.0.1:99999/",
        "http://[/",
        "http://127.0.0.1:{port}/#here",
    ],
)
def test_a_host_that_was_not_named_is_not_spoken_to(
    told: Any, receiver: Receiver, url: str
) -> None:
    port = receiver.url.rpartition(":")[2].rstrip("/")

    answer = told.post("double", {"x": [1]}, headers={"modelpack-webhook": url.format(port=port)})

    assert (answer.status_code, answer.json()["code"]) == (403, "webhook-refused")
    assert receiver.got == []


def test_hosts_are_named_with_scheme_and_port() -> None:
    hosts = Hosts.of("Hooks.example.com, http://10.0.0.7:8080,[::1]:8443,")

    assert hosts.check("https://hooks.EXAMPLE.com:443/done?x=1") is None
    assert hosts.check("http://10.0.0.7:8080") is None
    assert hosts.check("https://[::1]:8443/") is None
    assert hosts.check("http://hooks.example.com/") is not None
    assert hosts.check("https://hooks.example.com:444/") is not None
    for wrong in ("https://", "a b", "*.example.com", "ftp://a", "a:b", "user@host"):
        with pytest.raises(ValueError, match="must be hosts"):
            Hosts.of(wrong)


def test_a_name_that_leads_to_the_metadata_of_a_cloud_is_not_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lookup(*_: object, **__: object) -> list[Any]:
        places = ("169.254.169.254", "::ffff:169.254.169.254", "fe80::1%eth0", "0.0.0.0")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, 80)) for place in places]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)

    answer = deliver("http://hooks.example.com/", b"{}", {})

    assert answer.status == 0
    assert "no address that may be called" in answer.why


def test_nobody_there_is_an_answer_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]

    answer = deliver(f"http://127.0.0.1:{port}/", b"{}", {})

    assert (answer.status, answer.is_taken) == (0, False)
    assert "refused" in answer.why


def test_pauses_grow_follow_the_receiver_and_end() -> None:
    pauses = [pause_s(n, Answer(500)) for n in range(1, len(DELAYS_S) + 2)]

    assert pauses.pop() is None
    grown = [one for one in pauses if one is not None]
    assert all(low <= one <= low * 1.2 for low, one in zip(DELAYS_S, grown, strict=True))
    assert (pause_s(1, Answer(429, retry_after_s=90)) or 0) >= 90
    assert pause_s(1, Answer(204)) is None
    assert pause_s(1, Answer(410)) is None


def test_the_signature_is_that_of_the_specification() -> None:
    """The example of the specification's own documentation."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', (secret,), timestamp=1614265330
    )

    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("value", [None, "", "c2hvcnQ=", "not base64 at all", f"{NEW} odd"])
def test_messages_are_never_sent_unsigned(value: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        secrets_from({} if value is None else {SECRET: value})

    assert SECRET in f"{caught.value.message} {caught.value.hint}"
    assert NEW not in caught.value.message
