"""The page says what had begun, also when its writer is gone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from modelpack.server.runners.process.arena import ArenaError
from modelpack.server.runners.process.page import Page, PageView


def test_what_begins_and_ends_can_be_read() -> None:
    page = Page(2)
    view = PageView(page.descriptor)
    assert not view.has_begun(3, 1, 1)

    page.begin(3, 1, 7)

    assert view.has_begun(3, 1, 7)
    assert view.has_begun(3, 1, 6)
    assert not view.has_begun(3, 1, 8)
    assert not view.has_begun(3, 0, 7)
    assert view.running(3, 1)[0] == 1
    assert view.is_busy
    page.end(3, 1)
    assert not view.is_busy
    assert view.answers == 1
    view.close()


def test_the_number_of_a_front_that_left_begins_again() -> None:
    page = Page(1)
    view = PageView(page.descriptor)
    page.begin(0, 0, 9)
    page.clear(0)

    assert not view.has_begun(0, 0, 1)
    page.begin(0, 0, 1)
    page.end(0, 0)  # the one of the front that left
    assert view.is_busy
    page.end(0, 0)
    assert not view.is_busy
    view.close()


def test_it_outlives_its_writer() -> None:
    code = (
        "import sys, os, socket; from modelpack.server.runners.process.page import Page\n"
        "page = Page(1); page.begin(1, 0, 5)\n"
        "socket.send_fds(socket.socket(fileno=int(sys.argv[1])), [b'x'], [page.descriptor])\n"
        "os.kill(os.getpid(), 9)"
    )

    here, there = socket.socketpair()
    with here:
        with there:
            process = subprocess.Popen(
                [sys.executable, "-c", code, str(there.fileno())], pass_fds=[there.fileno()]
            )
            assert process.wait() == -9
        _, (descriptor,), _, _ = socket.recv_fds(here, 10, 1)

    view = PageView(descriptor)
    os.close(descriptor)
    assert view.has_begun(1, 0, 5)
    assert view.is_busy
    assert view.beat_age_s >= 0
    view.close()


def test_cells_are_bounded() -> None:
    view = PageView(Page(1).descriptor)
    with pytest.raises(ArenaError):
        view.has_begun(10_000, 0, 1)
    with pytest.raises(ArenaError):
        view.has_begun(0, 1, 1)
    view.close()
