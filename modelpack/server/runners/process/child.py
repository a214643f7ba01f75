"""The runner process: ``python -m modelpack.server.runners.process.child CONTROL PARENT``.

    CONTROL   number of the inherited descriptor of the control channel
    PARENT    pid of the process that started it, which it does not outlive

    control ──order──► open the service, hooks, warm-up ──► ready, and the page's descriptor
                                                      └──► failed: code, message, hint
    socket ◄──batches── fronts                control ──drain──► LEAVING to all, the last answers,
                                                                 shut-down hooks, exit 0 (3: a hook failed)

Ctrl-C is the parent's to decide about, and so is SIGTERM, which a service manager may send to every
process at once: the runner asks its parent to be relieved and goes on until it is told to leave.
What the service prints goes to standard error.
"""

from __future__ import annotations

import asyncio
import gc
import io
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from modelpack.server.life.orphans import tie_to

if TYPE_CHECKING:
    from modelpack.config.settings import ServerSettings
    from modelpack.server.runners.process.serving import RunnerServer

EXIT_FAILED = 1
EXIT_HOOK_FAILED = 3
EXIT_ORPHAN = 4

CONTROL_BYTES = 1 << 16
"""Longest message of the control channel."""

_BEAT_S = 0.25


def main(control: int, parent: int) -> int:
    """Serve until told to leave; returns the exit status."""
    tie_to(parent)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    # Before anything can import onnxruntime: its Linux wheel sends telemetry otherwise.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import uvloop

    from modelpack.config.settings import ServerSettings, settings_from
    from modelpack.server.observe.logs import configured

    with socket.socket(fileno=control) as channel:
        order = json.loads(channel.recv(CONTROL_BYTES) or b"null")
        if order is None:
            return EXIT_ORPHAN
        settings = settings_from(ServerSettings, order["settings"])
        with (
            configured(settings.log_format, settings.log_level),
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            return runner.run(_run(channel, order, settings))


async def _run(channel: socket.socket, order: dict[str, Any], settings: ServerSettings) -> int:
    from modelpack.frameworks.source import Source
    from modelpack.server.runners.hooks import end_instance
    from modelpack.server.runners.process.places import listen_at
    from modelpack.server.runners.process.serving import RunnerServer
    from modelpack.server.runners.replica import open_replica
    from modelpack.server.runners.threads import Worker

    loop = asyncio.get_running_loop()
    try:
        worker = Worker("modelpack-open", loop)
        spec = await worker.run(Source.from_text(order["source"]).open)
        replica = await open_replica(spec, settings, order["number"], copies=order["copies"])
    except Exception as error:
        _tell(channel, failed=_facts(error))
        return EXIT_FAILED
    server = RunnerServer(spec.apis, replica)
    server.listen(listen_at(Path(order["socket"])))
    _control(channel, server)
    _beat(loop, server)
    # What is there now stays: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    socket.send_fds(channel, [json.dumps({"ready": {}}).encode()], [server.page.descriptor])
    await server.ended.wait()
    replica.close()
    is_clean = await end_instance(spec, replica.instance, worker)
    return 0 if is_clean else EXIT_HOOK_FAILED


def _facts(error: Exception) -> dict[str, object]:
    from modelpack.errors import ModelpackError

    if isinstance(error, ModelpackError):
        facts: dict[str, object] = {"message": error.message, "hint": error.hint}
        return {**facts, "code": error.code, "exit_code": error.exit_code}
    return {"message": f"{type(error).__name__}: {error}", "code": "failed", "exit_code": 1}


def _control(channel: socket.socket, server: RunnerServer) -> None:
    """Do what the parent says, and pass on what a signal asks for."""
    loop = asyncio.get_running_loop()
    channel.setblocking(False)

    def read() -> None:
        try:
            message = channel.recv(CONTROL_BYTES)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            os._exit(EXIT_ORPHAN)  # the parent is gone: nobody wants an answer
        if "drain" in json.loads(message):
            server.drain()

    loop.add_reader(channel, read)
    loop.add_signal_handler(signal.SIGTERM, lambda: _tell(channel, leave={}))
    loop.add_signal_handler(signal.SIGINT, lambda: None)


def _tell(channel: socket.socket, **message: object) -> None:
    channel.send(json.dumps(message).encode())


def _beat(loop: asyncio.AbstractEventLoop, server: RunnerServer) -> None:
    """Show that the event loop turns, again and again."""
    server.page.beat()
    loop.call_later(_BEAT_S, _beat, loop, server)


def _leave(status: int) -> NoReturn:
    """Exit; threads of the service that never end are not waited for longer than two seconds."""
    timer = threading.Timer(2.0, os._exit, (status,))
    timer.daemon = True
    timer.start()
    sys.exit(status)


if __name__ == "__main__":
    _leave(main(int(sys.argv[1]), int(sys.argv[2])))
