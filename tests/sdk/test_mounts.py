"""What can be mounted on a service, and where."""

from __future__ import annotations

from typing import Any

import pytest

import modelpack
from modelpack.errors import SignatureError
from modelpack.sdk.service import spec_of


async def app(_scope: Any, _receive: Any, _send: Any) -> None:
    """Do nothing."""


class Application:
    async def __call__(self, _scope: Any, _receive: Any, _send: Any) -> None: ...


@modelpack.mount("/ui", app)
@modelpack.service
class Demo:
    @modelpack.api
    def echo(self, text: str) -> str:
        return text


@pytest.mark.parametrize(
    ("path", "given", "what"),
    [
        ("ui", app, "no such path"),
        ("/", app, "no such path"),
        ("/ui/", app, "no such path"),
        ("/a b", app, "no such path"),
        ("/echo", app, "each other's way"),
        ("/echo/more", app, "each other's way"),
        ("/docs", app, "each other's way"),
        ("/static/mine", app, "each other's way"),
        ("/ui", Application, "not an ASGI application"),
        ("/ui", "app:app", "not an ASGI application"),
    ],
)
@pytest.mark.parametrize("is_above", [True, False])
def test_what_cannot_be_mounted_is_said_at_once(
    path: str, given: Any, what: str, is_above: bool
) -> None:
    class Other:
        @modelpack.api
        def echo(self, text: str) -> str:
            return text

    order = [modelpack.service, modelpack.mount(path, given)]
    with pytest.raises(SignatureError, match=what):
        for decorate in order if is_above else reversed(order):
            decorate(Other)


def test_two_applications_need_two_paths() -> None:
    with pytest.raises(SignatureError, match="each other's way"):
        modelpack.mount("/ui/more", app)(Demo)


def test_mounts_are_part_of_the_spec_in_their_order() -> None:
    application = Application()

    @modelpack.mount("/second", application)
    @modelpack.service
    @modelpack.mount("/first", app)
    class Other(Demo): ...

    assert [one.path for one in spec_of(Demo).mounts] == ["/ui"]
    assert [(one.path, one.app) for one in spec_of(Other).mounts] == [
        ("/ui", app),
        ("/first", app),
        ("/second", application),
    ]
