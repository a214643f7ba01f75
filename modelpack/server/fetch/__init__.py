"""Fetches the models of a bundle from a registry, before a server starts.

    python -I -m modelpack.server.fetch HOST/REPOSITORY@sha256:HEX --to FOLDER [--login FILE]

    manifest ──its digest──► layers below bundle/models ──► FOLDER/.fetched/HEX.part
                                                                 │ every byte read, and it is
                                                                 ▼ what its digest names
                                                            FOLDER/MODEL/…

What always holds:

* nothing is unpacked before all of its layer was read and fits its digest, and that the manifest's;
* what was read stays: a connection that breaks off is gone on with, and so is a process that was
  ended, by the next one in the same folder;
* a secret is sent to the host that it is for, never in the clear, and never shown.

For the container that runs before a service (Kubernetes); the standard library alone, since an image
has no more.  Not here: pushing, tags, signatures, stores (``modelpack.registry`` does those).

Facts: OCI Distribution Specification, "Pulling manifests", "Pulling blobs"; Distribution's "Token
Authentication Specification"; Kubernetes documentation, "Pull an Image from a Private Registry" (the
file ``.dockerconfigjson``); the layers are those of docs/reference/bundle-format.md.
"""

from __future__ import annotations
