"""Both clients behind one face, a real server for a whole file, and one that plays what it is told.

asks(url, …)      Client and AsyncClient, one after the other: .call, .pieces
served            ``modelpack serve`` with the service below, one for each file
script(answers)   a server on a socket that keeps what it hears and answers in bytes
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from modelpack import AsyncClient, Client
from modelpack.client.reply import Answer

SERVICE = '''
from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

import modelpack
from modelpack import Range, Tensor

Rows = Tensor["float32", "batch", 4]


@dataclass
class Flower:
    kind: str
    petals: int = 3


@modelpack.service
class Garden:
    @modelpack.api(batch=True)
    def predict(self, x: Rows, scale: float = 1.0) -> Tensor["float32", "batch"]:
        """The sum of each row.

        Times the scale.
        """
        return x.sum(axis=1) * np.float32(scale)

    @modelpack.api
    def both(self, a: Tensor["int64", "n"], b: Tensor["float64", "n"]) -> dict[str, Any]:
        return {"sum": (a + b).tolist(), "rows": len(a)}

    @modelpack.api
    def pair(self, a: Tensor["int64", "n"], b: Tensor["float64", "n"]) -> Tensor["float64", "n"]:
        return a + b

    @modelpack.api
    def words(self, x: Tensor["str", "n"]) -> Tensor["str", "n"]:
        return np.array([one.upper() for one in x], dtype=object)

    @modelpack.api
    def flower(self, flower: Flower, colour: Literal["red", "blue"] = "red") -> dict[str, Any]:
        return {"kind": flower.kind, "petals": flower.petals, "colour": colour}

    @modelpack.api
    def parts(self, n: Annotated[int, Range(0, 9)]) -> tuple[int, Tensor["int8", "n"], bytes | None]:
        return n, np.arange(n, dtype=np.int8), None

    @modelpack.api
    def count(self, word: str, times: int = 3, fails: bool = False) -> Iterator[str]:
        """The word, so many times."""
        for number in range(times):
            yield f"{word} {number}"
        if fails:
            raise RuntimeError("the words are gone")

    @modelpack.api
    def size(self, file: bytes, unit: int = 1) -> int:
        return len(file) // unit

    @modelpack.api
    def copy(self, file: bytes) -> bytes:
        return file

    @modelpack.api
    def wait(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    @modelpack.api
    def broken(self) -> int:
        raise RuntimeError("a secret of the service")

    @modelpack.api
    def nan(self) -> Tensor["float32", "n"]:
        return np.array([1, np.nan], dtype=np.float32)
'''
READY_WITHIN_S = 60.0
URL = re.compile(r"https?://127\.0\.0\.1:\d+")


@contextmanager
def serving(folder: Path, *words: str) -> Iterator[str]:
    """Run ``modelpack serve`` in a folder; yields the URL."""
    log = folder / "log"
    program = Path(sys.executable).with_name("modelpack")
    command = [str(program), "serve", "--port", "0", *words]
    with log.open("wb") as output:
        server = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + READY_WITHIN_S
        while (found := URL.search(log.read_text())) is None:
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"'modelpack serve' did not get ready:\n{log.read_text()}")
            time.sleep(0.02)
        yield found[0]
    finally:
        server.terminate()
        status = server.wait(timeout=30)
    assert status == 0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the service above."""
    folder = tmp_path_factory.mktemp("garden")
    (folder / "service.py").write_text(SERVICE)
    with serving(folder) as url:
        yield url


# --- both clients -------------------------------------------------------------------------------


class Asker:
    """A client of either kind, used the same way."""

    def __init__(self, client: Client | AsyncClient, runner: asyncio.Runner) -> None:
        self.client = client
        self.runner = runner

    def call(self, api: str, arguments: Mapping[str, Any] | None = None, **how: Any) -> Answer:
        found = self.client.call(api, arguments, **how)
        return found if isinstance(found, Answer) else self.runner.run(found)

    def value(self, api: str, /, **arguments: Any) -> Any:
        found = getattr(self.client, api)(**arguments)
        return self.runner.run(found) if asyncio.iscoroutine(found) else found

    def pieces(self, api: str, *, most: int | None = None, **arguments: Any) -> list[Any]:
        """Read a stream, or the beginning of it; what came before an error is in ``read``."""
        stream = self.value(api, **arguments)
        self.read: list[Any] = []
        if isinstance(self.client, Client):
            with stream:
                for piece in stream:
                    self.read.append(piece)
                    if len(self.read) == most:
                        break
            return self.read

        async def take() -> list[Any]:
            async with stream:
                async for piece in stream:
                    self.read.append(piece)
                    if len(self.read) == most:
                        break
            return self.read

        return self.runner.run(take())

    def close(self) -> None:
        found = self.client.close()
        if found is not None:
            self.runner.run(found)


Asks = Callable[..., Asker]


@pytest.fixture(params=[Client, AsyncClient], ids=["sync", "async"])
def asks(request: pytest.FixtureRequest) -> Iterator[Asks]:
    """Make a client; it is closed after the test."""
    made: list[Asker] = []
    with asyncio.Runner() as runner:

        def make(url: str, **options: Any) -> Asker:
            made.append(Asker(request.param(url, **options), runner))
            return made[-1]

        yield make
        for one in made:
            one.close()


# --- a server that plays what it is told ---------------------------------------------------------


@dataclass
class Heard:
    """A request as it arrived."""

    head: str
    body: bytes
    connection: int
    """Which connection it came on, from 0."""
    at: float

    def header(self, name: str) -> str:
        """Return a header field, "" when there is none."""
        found = re.search(rf"^{name}: (.*?)\r$", self.head, re.MULTILINE | re.IGNORECASE)
        return found[1] if found else ""


HANG_UP = b""
"""Played by closing the connection without a word."""

DOCUMENT = (
    b'{"openapi":"3.1.0","info":{"title":"played","version":"1"},"paths":{"/predict":{"post":'
    b'{"operationId":"predict","tags":["apis"],"summary":"Played.","requestBody":{"content":'
    b'{"application/json":{"schema":{"type":"object","properties":{"n":{"type":"integer"}},'
    b'"required":["n"]}}}},"responses":{"200":{"content":{"application/json":{"schema":'
    b'{"type":"integer"}}}}}}}}}'
)


STREAM = DOCUMENT.replace(
    b'"200":{"content":{"application/json"', b'"200":{"content":{"application/x-ndjson"'
)


def chunk(data: bytes) -> bytes:
    """Return a piece of an answer that comes in chunks."""
    return b"%x\r\n%b\r\n" % (len(data), data)


BEGIN_STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"
)


def answer(status: int, body: bytes = b"1", *headers: str, kind: str = "application/json") -> bytes:
    """Return the bytes of an answer with a length."""
    lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


@dataclass
class Script:
    """Answers requests in turn; the document of the service is always there."""

    answers: list[bytes | Callable[[socket.socket], None]]
    heard: list[Heard] = field(default_factory=list)
    """What came, without the questions for the document."""
    url: str = ""
    closes: bool = False
    """Whether a connection is closed after each answer without a word."""
    document: bytes = DOCUMENT
    connections: int = 0
    looks: int = 0
    """How often the document was asked for."""
    context: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}"
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self._begin(self._accept)

    def _begin(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                self.connections += 1
                self._begin(self._talk, connection, self.connections - 1)

    def _talk(self, connection: socket.socket, number: int) -> None:
        with suppress(OSError):
            if self.context is not None:
                connection = self.context.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            self._answer(connection, number)
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()

    def _answer(self, connection: socket.socket, number: int) -> None:
        rest = b""
        while True:
            while b"\r\n\r\n" not in rest:
                data = connection.recv(65536)
                if not data:
                    return
                rest += data
            head, _, rest = rest.partition(b"\r\n\r\n")
            heard = Heard(head.decode() + "\r\n", b"", number, time.monotonic())
            if "/openapi.json" in heard.head.partition("\r")[0]:
                self.looks += 1
                connection.sendall(answer(200, self.document))
                continue
            self.heard.append(heard)
            play = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if callable(play):
                play(connection)
                return
            length = int(heard.header("content-length") or 0)
            while len(rest) < length:
                data = connection.recv(65536)
                if not data:
                    return
                rest += data
            heard.body, rest = rest[:length], rest[length:]
            if play == HANG_UP:
                return
            connection.sendall(play)
            if self.closes:
                return

    def close(self) -> None:
        """Hang up on everybody."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(10)


@pytest.fixture
def script() -> Iterator[Callable[..., Script]]:
    """Start a server that plays answers, the last one again and again."""
    started: list[Script] = []

    def start(*answers: Any, **options: Any) -> Script:
        started.append(Script(list(answers), **options))
        return started[-1]

    yield start
    for one in started:
        one.close()


def requests_of(heard: Sequence[Heard]) -> list[str]:
    """Return the first lines of what came."""
    return [one.head.partition("\r")[0] for one in heard]


# --- TLS ----------------------------------------------------------------------------------------


class Certificate:
    """A certificate for ``service.invalid`` and 127.0.0.1 that signs itself."""

    def __init__(self, folder: Path) -> None:
        import ipaddress
        from datetime import UTC, datetime, timedelta

        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "service.invalid")])
        names = [x509.DNSName("service.invalid"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.file, self.key = folder / "cert.pem", folder / "key.pem"
        self.file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        self.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )

    def context(self, *, asks_for_one: bool = False) -> ssl.SSLContext:
        """Return what a server uses."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file, self.key)
        if asks_for_one:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.file)
        return context


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("tls"))
