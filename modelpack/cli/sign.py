"""``modelpack sign``: says who made a bundle, and makes the key to say it with.

    --key     TAG ──every byte checked──► signature beside the bundle (and in --save FILE)
    --attach  a signature that another tool wrote ──► beside the bundle
    --new-key a fresh pair of keys, in two files

A password comes from ``--password-file``, from MODELPACK_KEY_PASSWORD, or from whoever sits there.
"""

from __future__ import annotations

import os
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelpack.cli import console
from modelpack.cli.grammar import Format, FormatOption
from modelpack.errors import UsageError

if TYPE_CHECKING:
    from modelpack.store import Entry, Referrer, Store

PASSWORD_VARIABLE = "MODELPACK_KEY_PASSWORD"  # noqa: S105 - its name, not its value


def sign(
    tag: Annotated[
        str | None,
        typer.Argument(metavar="TAG", help="NAME or NAME:VERSION; models/NAME for a saved model"),
    ] = None,
    *,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="private key to sign with")
    ] = None,
    password_file: Annotated[
        Path | None,
        typer.Option("--password-file", metavar="FILE", help="file with the password of the key"),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="DAY", help="last day (UTC) on which it holds; for ever"),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FILE", help="write the signature there as well"),
    ] = None,
    attach: Annotated[
        Path | None,
        typer.Option("--attach", metavar="FILE", help="keep a signature of another tool instead"),
    ] = None,
    new_key: Annotated[
        Path | None,
        typer.Option("--new-key", metavar="FILE", help="make a key instead, and its '.pub' file"),
    ] = None,
    no_password: Annotated[
        bool, typer.Option("--no-password", help="let the new key have no password")
    ] = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack sign --new-key release.pem
    $ modelpack sign digits:latest --key release.pem

    Sign a bundle, or make a key to sign with.

    Every byte is checked before. The signature is kept beside the bundle, changes nothing about its
    digest, and goes where it goes. It is an OpenSSF model-signing bundle (ECDSA), so that other tools
    check it too. A key is P-256 in PEM form; its password is asked for, or read from --password-file or
    MODELPACK_KEY_PASSWORD.
    """
    given = [one for one in (key, attach, new_key) if one is not None]
    if len(given) != 1:
        raise UsageError("one of --key, --attach and --new-key is needed")
    if new_key is not None:
        if tag is not None:
            raise UsageError("--new-key signs nothing", hint="sign with '--key' after that")
        _make_key(new_key, password_file, no_password, form)
        return
    if tag is None:
        raise UsageError("TAG is missing", hint="'modelpack list' shows what can be signed")
    if attach is not None and expires is not None:
        raise UsageError("--expires is for a signature that is made here")

    from modelpack.cli.verify import entry_named
    from modelpack.store import Store

    store = Store()
    entry = entry_named(tag, store)
    if key is not None:
        referrer = _sign(store, entry, key, password_file, _day(expires))
    else:
        referrer = _attach(store, entry, Path(str(attach)))
    if save is not None:
        save.write_bytes(store.read_referrer(referrer))
        console.note(f"written to '{save}'")
    _print(entry, referrer, form)


def _sign(
    store: Store, entry: Entry, key: Path, password_file: Path | None, last_day: date | None
) -> Referrer:
    from modelpack import trust
    from modelpack.trust.keys import is_open_to_others

    loaded = trust.load_private_key(key, lambda: _password(password_file))
    if is_open_to_others(key):
        console.warn(f"others can read the key '{key}': 'chmod 600' keeps it to you")
    referrer = trust.sign(store, entry, loaded, last_day=last_day)
    console.note(f"signed '{entry.tag}' with key {loaded.id[:12]}")
    return referrer


def _attach(store: Store, entry: Entry, file: Path) -> Referrer:
    from modelpack.trust import attach_signature

    referrer = attach_signature(store, entry, file)
    console.note(f"kept beside '{entry.tag}': 'modelpack verify' says what it is worth")
    return referrer


def _print(entry: Entry, referrer: Referrer, form: Format) -> None:
    if form is Format.JSON:
        facts = {"tag": str(entry.tag), "subject": entry.digest, "digest": referrer.digest}
        console.out_json({**facts, "artifact_type": referrer.artifact_type})
    else:
        console.out(referrer.digest)


def _make_key(file: Path, password_file: Path | None, no_password: bool, form: Format) -> None:
    from modelpack.trust import new_key

    password = None if no_password else _new_password(password_file)
    public_file, key_id = new_key(file, password)
    console.note(f"made '{file}': keep it to yourself; give '{public_file}' to who verifies")
    if form is Format.JSON:
        console.out_json({"private": str(file), "public": str(public_file), "key_id": key_id})
    else:
        console.out(public_file)


def _password(file: Path | None) -> bytes | None:
    """Return the password of a key, from where it can be had; None when nobody can be asked."""
    if (given := _given_password(file)) is not None:
        return given
    return console.ask_secret("password of the key: ") if console.has_somebody() else None


def _new_password(file: Path | None) -> bytes:
    if (given := _given_password(file)) is not None:
        return given
    if not console.has_somebody():
        raise UsageError(
            "a new key needs a password, and there is no terminal to ask on",
            hint="give '--password-file FILE', or '--no-password' for a key without one",
        )
    first = console.ask_secret("password of the new key: ")
    if not first:
        raise UsageError("the password is empty", hint="'--no-password' makes a key without one")
    if console.ask_secret("the same again: ") != first:
        raise UsageError("the two passwords differ", hint="nothing was made; try again")
    return first


def _given_password(file: Path | None) -> bytes | None:
    """Return the first line of the file, else what the variable says; raises UsageError."""
    if file is not None:
        try:
            lines = file.read_bytes().splitlines()
        except OSError as cause:
            raise UsageError(f"cannot read '{file}': {cause.strerror}") from cause
        if not lines or not lines[0]:
            raise UsageError(f"'{file}' holds no password", hint="it stands in the first line")
        return lines[0]
    return os.environ.get(PASSWORD_VARIABLE, "").encode() or None


def _day(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError as cause:
        raise UsageError(f"--expires: '{text}' is no day", hint="write it as 2027-12-31") from cause
    if day < datetime.now(UTC).date():
        raise UsageError(f"--expires: {day} is over")
    return day
