"""Takes the secrets of a build out of what its builder says."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from modelpack.image.leaks import tell_tales

_HIDDEN = "****"


def hider(secrets: Mapping[str, bytes]) -> Callable[[str], str]:
    """Return a function that replaces each secret, and each telling part of it, in a text."""
    parts = {part for content in secrets.values() for part in tell_tales(content)}
    # The longest first: a part may stand within another.
    words = sorted((part.decode(errors="replace") for part in parts), key=len, reverse=True)

    def hide(text: str) -> str:
        for word in words:
            text = text.replace(word, _HIDDEN)
        return text

    return hide
