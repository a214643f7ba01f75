"""A small service that speaks the routes a deployment is probed by; standard library only.

FAKE_MODE says how it misbehaves: ``crash`` ends at once, ``deaf`` is never ready, ``poison`` fails
its own example, ``picky`` refuses it, ``stubborn`` ignores SIGTERM, ``family`` starts a child,
``hungry`` takes all memory, ``aloof`` never asks for a port that others share.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODE = os.environ.get("FAKE_MODE", "")
VERSION = os.environ.get("FAKE_VERSION") or os.environ["MODELPACK_TAG"].partition(":")[2]
EXAMPLE = {"x": [1.0, 2.0]}
STATUS = {"poison": 500, "picky": 422}.get(MODE, 200)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/readyz":
            self.answer(503 if MODE == "deaf" else 200, {})
        elif self.path == "/openapi.json":
            body = {"content": {"application/json": {"example": EXAMPLE}}}
            paths = {"/double": {"post": {"requestBody": body}}, "/livez": {"get": {}}}
            info = {"title": "fake", "version": VERSION}
            self.answer(200, {"openapi": "3.1.0", "info": info, "paths": paths})
        elif self.path == "/rights":
            self.answer(200, rights())
        elif self.path == "/environ":
            self.answer(200, dict(os.environ))
        else:
            self.answer(404, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.answer(STATUS, {"doubled": [2 * value for value in body["x"]]})

    def answer(self, status: int, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        print("asked for", self.path, flush=True)


class Shared(ThreadingHTTPServer):
    """Answers at a listening socket that somebody else gave."""

    daemon_threads = True

    def __init__(self, descriptor: int) -> None:
        super().__init__(("", 0), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = socket.socket(fileno=descriptor)
        self.socket.setblocking(False)

    def get_request(self):
        connection, address = super().get_request()
        connection.setblocking(True)
        return connection, address


def share_port(path: str) -> None:
    """Answer at the port of a keeper, as long as it says so."""
    group, _, name = os.environ["MODELPACK_PORT_GROUP"].partition("/")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
        while line.connect_ex(path):
            time.sleep(0.05)
        line.send(f"join {group} {name}".encode())
        server = None
        while True:
            data, descriptors, _, _ = socket.recv_fds(line, 4096, 2)
            word = data.partition(b" ")[0]
            if not word:
                return
            if server is not None:
                server.shutdown()
                server.server_close()
            if word == b"accept":
                server = Shared(descriptors[0])
                threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            line.send(b"accepting" if word == b"accept" else b"paused")


def rights() -> dict[str, object]:
    lines = Path("/proc/self/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return {
        "uid": os.getuid(),
        "capabilities": status["CapBnd"],
        "no_new_privileges": status["NoNewPrivs"],
        "writes_root": can_write("/somewhere"),
        "writes_tmp": can_write("/tmp/somewhere"),
    }


def can_write(path: str) -> bool:
    try:
        Path(path).write_text("x")
    except OSError:
        return False
    return True


def main() -> None:
    print("this is", os.environ["MODELPACK_TAG"], flush=True)
    if MODE == "crash":
        sys.exit("error[service-failed]: the model is broken")
    if MODE == "hungry":
        hoard = []
        while True:
            hoard.append(bytearray(10**7))
    on_term = signal.SIG_IGN if MODE == "stubborn" else lambda *_: os._exit(0)
    signal.signal(signal.SIGTERM, on_term)
    if MODE == "family":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print("child", child.pid, flush=True)
    address = os.environ["MODELPACK_HOST"], int(os.environ["MODELPACK_PORT"])
    keeper = os.environ.get("MODELPACK_PORT_KEEPER")
    if keeper and MODE != "aloof":
        threading.Thread(target=share_port, args=(keeper,), daemon=True).start()
    with ThreadingHTTPServer(address, Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
