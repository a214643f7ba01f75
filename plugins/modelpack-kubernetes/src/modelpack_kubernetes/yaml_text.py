"""Objects as YAML that every reader takes for the same.

    [objects] ──as_yaml──► text: keys in their order, no line folded, no references

Kubernetes' own tools read YAML 1.1 and more: ``1e3`` and ``0o7`` are numbers to them, ``y`` is true,
where Python's library writes them as text without quotes.  A version such as ``7e1`` of a bundle
would be a number in a label.  So text that begins like a number, or is such a word, has quotes.
"""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from modelpack_kubernetes.words import Json

_LIKE_NUMBERS = frozenset("0123456789+-.")
_LIKE_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "~"})


def as_yaml(*objects: Json) -> str:
    """Return objects as one text, with ``---`` between them."""
    texts = [
        yaml.dump(one, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100_000)
        for one in objects
    ]
    return "---\n".join(texts)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        """Write what stands at two places twice."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    is_odd = text[:1] in _LIKE_NUMBERS or text.lower() in _LIKE_WORDS
    style = "'" if is_odd and text.isprintable() else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)

__all__: Sequence[str] = ("as_yaml",)
