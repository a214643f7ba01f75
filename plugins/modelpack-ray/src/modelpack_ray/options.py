"""The options of the target, and what each may say.

    --option KEY=VALUE, RAY_DASHBOARD_ADDRESS ──checked──► options that can be, by name

Nothing is asked of a cluster here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from modelpack.deploy import refuse_unknown
from modelpack.errors import UsageError
from modelpack_ray.packages import Storage
from modelpack_ray.rest import checked_address

OPTIONS: Mapping[str, str] = {
    "address": "address of the dashboard, such as http://HOST:8265; else RAY_DASHBOARD_ADDRESS",
    "http_host": "address at which Ray Serve answers where it does not run yet: 127.0.0.1",
    "http_port": "port at which it answers then: 8000",
    "image": "image of the nodes in the RayService of '--output'",
    "per_node": "most replicas on one node, such as 1; else Ray places them as it likes",
    "packages": "folder that all nodes see, or URL, where packages lie: the cluster itself",
    "route": "path below which the deployment answers: /NAME",
    "serve_url": "URL of the proxies of Ray Serve, as seen from here",
}

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_IMAGE = re.compile(r"[a-z0-9][A-Za-z0-9._/:@+-]*")


def checked(target: str, options: Mapping[str, str]) -> dict[str, str]:
    """Return the options, with the address that a variable names; raises UsageError for a wrong one."""
    refuse_unknown(target, options, OPTIONS)
    given = dict(options)
    if "address" not in given and (named := os.environ.get("RAY_DASHBOARD_ADDRESS")):
        given["address"] = named
    if "address" in given:
        given["address"] = checked_address(given["address"])
    if "serve_url" in given:
        given["serve_url"] = _checked_url(given["serve_url"])
    _check_route(given.get("route"))
    _check_port(given.get("http_port"))
    _check_count(given.get("per_node"))
    _check_words("http_host", given.get("http_host"), _HOST, "the address of a network, or a name")
    _check_words("image", given.get("image"), _IMAGE, "such as rayproject/ray:2.60.0-py311")
    Storage(given.get("packages"))
    return given


def _check_route(route: str | None) -> None:
    if route is None or route == "/":
        return
    parts = route.split("/")
    is_fine = route.startswith("/") and all(parts[1:]) and not parts[1].startswith("-")
    if not is_fine or not all(c.isalnum() or c in "-._~/" for c in route):
        raise UsageError(
            f"'{route}' is no route", hint="write a path such as /models/digits, without an end '/'"
        )


def _check_port(port: str | None) -> None:
    if port is not None and not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise UsageError(f"'{port}' is no port", hint="http_port is a number from 1 to 65535")


def _check_count(count: str | None) -> None:
    if count is not None and not (count.isascii() and count.isdecimal() and 0 < int(count) <= 100):
        raise UsageError(f"'{count}' is no number of replicas", hint="per_node is from 1 to 100")


def _checked_url(text: str) -> str:
    try:
        return checked_address(text)
    except UsageError:
        raise UsageError(
            f"serve_url: '{text}' is no URL",
            hint="write where the proxies of Ray Serve answer, such as http://HOST:8000",
        ) from None


def _check_words(option: str, value: str | None, form: re.Pattern[str], hint: str) -> None:
    if value is not None and not form.fullmatch(value):
        raise UsageError(f"{option}: '{value}' cannot be", hint=hint)
