"""A bundle inside one's own program, with no server.

    digits = modelpack.load("digits:latest")
    digits.predict(x)                     the very method, in this process

    tag ──store──► policy ──► unpacked once in the cache, by digest ──► the service's instance

Works with the standard library, numpy and what the bundle's own model needs.  The bundle's code
runs in this process, so only for bundles one trusts; what the policy file asks for ``serve`` is
asked here too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modelpack import paths
from modelpack.store import Entry, Kind, Store
from modelpack.tag import Tag


def load(tag: str | Tag, *, store: Store | None = None) -> Any:
    """Return an instance of the bundle's service.

    Raises BundleNotFoundError, DigestMismatchError, UntrustedError or CodeModelError when the
    policy refuses it, or UserCodeError when its code fails.
    """
    from modelpack.frameworks.bundled import BundledModels, open_bundle
    from modelpack.sdk.model import using_source
    from modelpack.trust.gate import check

    store = store or Store()
    entry = store.find(tag if isinstance(tag, Tag) else Tag.parse(tag), Kind.BUNDLE)
    check(store, entry, "serve")
    folder = unpacked(store, entry)
    with using_source(BundledModels(folder)):
        return open_bundle(folder).create()


def unpacked(store: Store, entry: Entry) -> Path:
    """Return the folder of an entry's files in the cache, unpacked and verified when new."""
    home = paths.cache_dir() / "bundles" / entry.digest.removeprefix("sha256:")
    return store.unpack(entry, home, exist_ok=True)
