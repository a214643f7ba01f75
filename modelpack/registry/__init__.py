"""Models and bundles in container registries, buckets and folders.

    names        what a reference means           operations  push, pull, copy, login
    transfer     one thing from source to target, all of it before any of it is shown
    base         Source, Target, Graph            reader      bytes of a blob, checked
    remote       a registry: manifests (by name), uploads, downloads (in pieces), places (mounts)
    layouts, s3, bucket    a layout in a folder, on a web server, in a bucket
    local        the store of this machine        (taking in: ``modelpack.store.receive``)
    transport    requests, retries (backoff), who asks (auth, credentials), errors (problems)
    counts       bytes sent, received and saved

The client is our own: registries differ in what they can, and what was sent has to be known.
"""

from __future__ import annotations

from modelpack.registry.counts import Counts
from modelpack.registry.credentials import Credentials
from modelpack.registry.names import Reference, counterpart, destination, parse
from modelpack.registry.operations import Moved, Options, copy, login, pull, push

__all__ = [
    "Counts",
    "Credentials",
    "Moved",
    "Options",
    "Reference",
    "copy",
    "counterpart",
    "destination",
    "login",
    "parse",
    "pull",
    "push",
]
