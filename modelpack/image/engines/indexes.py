"""Says which package indexes a build is told of, as far as whoever has the image may know them.

pip.conf, PIP_… of this machine ──► build arguments; addresses with a login are left out
"""

from __future__ import annotations

from collections.abc import Collection

from modelpack.archive.indexes import index_settings
from modelpack.image.dockerfile import INDEX_ARGS, PIP_CONF
from modelpack.progress import Progress

_FLAGS = dict(zip(("--index-url", "--extra-index-url"), INDEX_ARGS, strict=True))


def index_arguments(progress: Progress, secrets: Collection[str] = ()) -> dict[str, str]:
    """Return addresses by ``PIP_INDEX_URL`` and ``PIP_EXTRA_INDEX_URL``.

    ``secrets`` are the ids of those that are given: what they say is not said twice.
    """
    if PIP_CONF in secrets:
        return {}
    found: dict[str, list[str]] = {}
    for argument in index_settings().arguments:
        flag, _, url = argument.partition("=")
        name = _FLAGS.get(flag)
        if name is None or name in secrets or not url.startswith(("https://", "http://")):
            continue
        if "@" in url.split("/")[2]:
            progress.note(
                "an index needs a password and is not named to the build: "
                f"give it with '--secret id={name},env={name}' or '--secret id=pip.conf,src=FILE'"
            )
            continue
        found.setdefault(name, []).append(url)
    return {name: " ".join(urls) for name, urls in found.items()}
