"""``modelpack login`` and ``logout``: credentials of a registry, where Docker keeps them."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from modelpack.cli import console
from modelpack.cli.transfers import InsecureOption

HostArgument = Annotated[
    str, typer.Argument(metavar="HOST", help="registry, such as registry.example:5000")
]


def login(
    host: HostArgument,
    username: Annotated[
        str | None, typer.Option("-u", "--username", metavar="NAME", help="who logs in")
    ] = None,
    password_stdin: Annotated[
        bool,
        typer.Option("--password-stdin", help="read the password or token from standard input"),
    ] = False,
    insecure: InsecureOption = False,
) -> None:
    """
    $ modelpack login registry.example --username me

    Try a login at a registry and keep it where Docker keeps its own.

    modelpack has no file for passwords: they go to Docker's credential helper, or into Docker's
    configuration where there is none. A login that does not work is not kept.
    """
    from modelpack import registry
    from modelpack.registry import credentials

    _check_host(host)
    name, secret = _asked(host, username, from_stdin=password_stdin)
    options = registry.Options(insecure=insecure)
    place = registry.login(host, registry.Credentials(name, secret), options=options)
    console.note(f"logged in to '{host}' as '{name}', kept in '{place}'")
    if place == str(credentials.config_file()):
        console.warn("it is kept there unencrypted, as 'docker login' does without a helper")


def logout(host: HostArgument) -> None:
    """
    $ modelpack logout registry.example

    Forget a login at a registry, as 'docker logout' does.
    """
    from modelpack.registry import credentials

    _check_host(host)
    if credentials.remove(host):
        console.note(f"logged out of '{host}'")
    else:
        console.note(f"there was no login at '{host}'")


def _check_host(host: str) -> None:
    """Raise BadReferenceError for what is more or less than a host."""
    from modelpack.errors import BadReferenceError
    from modelpack.registry.names import RegistryReference

    try:
        RegistryReference(host, "any")
    except BadReferenceError as cause:
        hint = "a host is such as 'registry.example' or 'registry.example:5000'"
        raise BadReferenceError(cause.message, hint=hint) from None


def _asked(host: str, username: str | None, *, from_stdin: bool) -> tuple[str, str]:
    from modelpack.errors import UsageError

    if from_stdin:
        if username is None:
            raise UsageError("'--password-stdin' needs '--username'")
        secret = sys.stdin.read().rstrip("\r\n")
    else:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError(
                "there is no terminal to ask for a password on",
                hint="give '--username NAME --password-stdin' and the password on standard input",
            )
        import getpass

        if username is None:
            print(f"user for '{host}': ", end="", file=sys.stderr, flush=True)  # noqa: T201
            username = sys.stdin.readline().strip()
        secret = getpass.getpass(f"password of '{username}': ", stream=sys.stderr)
    if not username or not secret:
        raise UsageError("user and password must not be empty")
    return username, secret
