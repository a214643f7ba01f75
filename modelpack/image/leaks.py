"""Searches a finished image for the secrets that its build was lent.

    secrets ──tell_tales──► what would give them away ──► every byte of every layer   ┐
                            (passwords, tokens, …)        config, history, labels      ├─► findings
                                                          manifest                     ┘

What always holds:

* a layer is read as the tar that it is: names, contents and headers of its files, whatever they are;
* what a later layer deletes is found in the earlier one, where whoever has the image finds it too;
* a finding names the place and the secret, never a part of its content.

Not seen: what is encoded or compressed within a file, but for the forms in which a login travels
(base64 of ``user:password``, percent signs), and secrets of fewer than six characters, which are
everywhere by chance.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from modelpack.image.reading import ReadImage, ReadLayer, members
from modelpack.image.reading.members import Pulled
from modelpack.store.names import shown

MIN_BYTES = 6
"""Shorter texts are not searched for."""

_LOGIN = re.compile(rb"[a-zA-Z][a-zA-Z0-9+.-]*://([^/\s@'\"]+)@")
_NETRC = re.compile(rb"\b(?:login\s+(\S+)\s+)?(?:account\s+\S+\s+)?password\s+(\S+)")
_MAX_FINDINGS = 20


def find_leaks(image: ReadImage, secrets: Mapping[str, bytes]) -> list[str]:
    """Return where an image holds one of the secrets, as lines for people; empty: nowhere.

    ``secrets`` are contents by name: an address with a login, a netrc, a ``pip.conf``, or any text.
    All of it is read; raises what reading the image raises.
    """
    sought = {part: name for name, content in secrets.items() for part in tell_tales(content)}
    if not sought:
        return []
    found = list(_in_texts("the config", image.config, sought))
    found += _in_texts("the manifest", image.document.value, sought)
    for number, layer in enumerate(image.layers, start=1):
        found += _in_layer(number, layer, sought)
    return list(dict.fromkeys(found))[:_MAX_FINDINGS]


def tell_tales(content: bytes) -> set[bytes]:
    """Return the byte strings that give a secret away: all of it, and each password in it."""
    found = {content.strip()}
    for match in _LOGIN.finditer(content):
        user, has_password, password = match[1].partition(b":")
        # A token often stands where the user does, and no password.
        found |= _forms(password if has_password and password else user)
        found.add(base64.b64encode(unquote_to_bytes(user) + b":" + unquote_to_bytes(password)))
    for match in _NETRC.finditer(content):
        password = match[2].strip(b"\"'")
        found |= _forms(password)
        if match[1]:
            found.add(base64.b64encode(match[1].strip(b"\"'") + b":" + password))
    return {part for part in found if len(part) >= MIN_BYTES}


def _forms(password: bytes) -> set[bytes]:
    plain = unquote_to_bytes(password)
    return {password, plain, quote(plain, safe="").encode(), base64.b64encode(plain)}


def _in_texts(place: str, value: Any, sought: Mapping[bytes, str]) -> Iterator[str]:
    for path, text in _texts(value):
        data = text.encode(errors="surrogatepass")
        for name in {name for part, name in sought.items() if part in data}:
            yield f"'{shown(name)}' in {place}, {shown(path) or 'at its top'}"


def _texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Give every key and text of a JSON value with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield path, str(key)
            yield from _texts(inner, f"{path}.{str(key)[:40]}".lstrip("."))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _texts(inner, f"{path}[{number}]")


def _in_layer(number: int, layer: ReadLayer, sought: Mapping[bytes, str]) -> list[str]:
    hits = _offsets(layer.unpacked(), sought)
    if not hits:
        return []
    # Only now it is worth while to know the files: a second reading names them.
    files = dict.fromkeys(hits, "")
    for member, _ in members(Pulled(layer.unpacked()), f"layer {number}"):
        for name, offset in hits.items():
            # What stands before the content of the first file behind it is its header.
            if not files[name] and offset < member.offset + max(member.size, 1):
                files[name] = member.path
    return [
        f"'{shown(name)}' in layer {number}, '{shown(file) or 'after its last file'}'"
        for name, file in files.items()
    ]


def _offsets(chunks: Iterable[bytes], sought: Mapping[bytes, str]) -> dict[str, int]:
    """Return where in a stream each secret is first met; it is read to its end."""
    overlap = max(map(len, sought)) - 1
    hits: dict[str, int] = {}
    before = b""
    at = 0
    for chunk in chunks:
        data = before + chunk
        for part, name in sought.items():
            place = data.find(part)
            if place >= 0:
                hits[name] = min(hits.get(name, at + place), at + place)
        before = data[max(len(data) - overlap, 0) :] if overlap else b""
        at += len(data) - len(before)
    return hits
