"""Logins of a private package index, lent to one command of a build.

    --secret id=netrc,src=~/.netrc  ──parse──► BuildSecret ──read──► contents by mount
                                                  └──► tell_tales: what the image is searched for

A secret is a mount of the command that installs packages: a file that is there while it runs and
stands in no layer, no variable and no history.  What it is for is told by its id:

    pip.conf              a configuration file of pip
    netrc                 logins by host, as curl and pip read them
    PIP_INDEX_URL         the address of the index, with its login
    PIP_EXTRA_INDEX_URL   addresses of further ones

The last two become lines of a ``pip.conf``, so that a build knows two mounts alone.  Contents go from
this process into the variables of the builder's, never into a file of their own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelpack.errors import UsageError, did_you_mean
from modelpack.image.dockerfile import NETRC, PIP_CONF

_ADDRESSES = {"PIP_INDEX_URL": "index-url", "PIP_EXTRA_INDEX_URL": "extra-index-url"}
IDS = (PIP_CONF, NETRC, *_ADDRESSES)
"""What a secret can be."""

_MAX_BYTES = 100_000
"""Linux gives a variable of a process 131,072 bytes at most."""


@dataclass(frozen=True, slots=True)
class BuildSecret:
    """A secret that one command of a build reads, and that the image never holds."""

    id: str
    """One of ``IDS``."""
    source: Path | str
    """A file, or the name of a variable of this process."""

    def __post_init__(self) -> None:
        if self.id not in IDS:
            guess = did_you_mean(self.id, IDS)
            known = f"known are {', '.join(IDS)}"
            raise UsageError(
                f"no command of a build reads a secret '{_shown(self.id)}'",
                hint=f"did you mean '{guess}'?" if guess else known,
            )

    @classmethod
    def parse(cls, text: str) -> BuildSecret:
        """Read ``id=NAME,src=FILE``, ``id=NAME,env=VARIABLE`` or ``id=NAME`` (its own variable).

        Raises UsageError.
        """
        said: dict[str, str] = {}
        for word in text.split(","):
            key, is_there, value = word.partition("=")
            key = "src" if key == "source" else key
            if not is_there or not value or key not in ("id", "src", "env") or key in said:
                raise _no_secret()
            said[key] = value
        if "id" not in said or {"src", "env"} <= said.keys():
            raise _no_secret()
        if "src" in said:
            return cls(said["id"], Path(said["src"]).expanduser())
        return cls(said["id"], said.get("env", said["id"]))

    def read(self, environ: Mapping[str, str] | None = None) -> bytes:
        """Return the content; raises UsageError when there is none that a build can be given."""
        environ = os.environ if environ is None else environ
        if isinstance(self.source, str):
            what = "its variable"  # whose name is not shown: 'env=$TOKEN' would print the token
            content = os.fsencode(environ.get(self.source, ""))
        else:
            what = f"the file '{_shown(str(self.source))}'"
            try:
                content = self.source.read_bytes()
            except OSError as cause:
                raise UsageError(
                    f"the secret '{self.id}' cannot be read from {what}: {cause.strerror}",
                    hint="name the file that holds it, with src=FILE",
                ) from cause
        if not content.strip():
            raise UsageError(
                f"the secret '{self.id}' is empty: {what} holds nothing",
                hint="see where it is kept, and name that with src=FILE or env=VARIABLE",
            )
        if b"\0" in content or len(content) > _MAX_BYTES:
            raise UsageError(
                f"the secret '{self.id}' is no text of at most {_MAX_BYTES:,} bytes",
                hint=f"see what {what} holds",
            )
        return content


def read_secrets(
    secrets: Sequence[BuildSecret], indexes: Mapping[str, str] | None = None
) -> dict[str, bytes]:
    """Return what the build is lent, by the id of its mount; raises UsageError.

    ``indexes`` are addresses without a login, by ``PIP_INDEX_URL`` and ``PIP_EXTRA_INDEX_URL``: they
    go beside secret ones, since a ``pip.conf`` of ours is all that pip is told then.
    """
    if len({one.id for one in secrets}) < len(secrets):
        raise UsageError("a secret is given twice", hint="give each id once")
    contents = {one.id: one.read() for one in secrets}
    addresses = {
        name: _addresses(name, contents.pop(name)) for name in _ADDRESSES if name in contents
    }
    if addresses:
        if PIP_CONF in contents:
            raise UsageError(
                f"'{PIP_CONF}' and the address of an index are both given as secrets",
                hint=f"write the address into the '{PIP_CONF}', as 'index-url'",
            )
        for name, known in (indexes or {}).items():
            addresses.setdefault(name, known.split())
        contents[PIP_CONF] = _pip_conf(addresses)
    return contents


def _pip_conf(addresses: Mapping[str, Sequence[str]]) -> bytes:
    lines = ["[global]"]
    for name, found in sorted(addresses.items()):
        lines += [f"{_ADDRESSES[name]} =", *(f"    {one}" for one in found)]
    return "\n".join([*lines, ""]).encode()


def _addresses(name: str, content: bytes) -> list[str]:
    found = content.decode(errors="replace").split()
    for one in found:
        if not one.startswith(("https://", "http://")) or not one.isprintable():
            raise UsageError(
                f"the secret '{name}' holds what is no address of an index",
                hint="it looks like 'https://user:password@host/simple'",
            )
    if name == "PIP_INDEX_URL" and len(found) > 1:
        raise UsageError(
            f"the secret '{name}' holds {len(found)} addresses",
            hint="give the others as PIP_EXTRA_INDEX_URL",
        )
    return found


def _no_secret() -> UsageError:
    # What was written is not shown: it may be the secret itself.
    return UsageError(
        "a secret is named by what it is for and where it is kept",
        hint=f"write id=NAME,src=FILE or id=NAME,env=VARIABLE; names are {', '.join(IDS)}",
    )


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:300]
