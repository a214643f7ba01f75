"""The direct builder: an image out of layers that are made or found here, with no container engine.

    build        plans, store, base, outputs ──► DirectResult
    base         which base, does it fit         rootfs, base_layers   what is in it, kept here
    packages     layers that are made here       (layer, installing, normalising, bytecode, runtime,
                                                  requirements, compressing, cache)
    bundled      layers that are the bundle's own blobs
    assembling   config and manifest             statements            what is said about an image
    source       an image as it moves            lent                  no login got into it
    outputs      where it goes:
    layouts, archives, loading   a folder, a tar, an engine

A registry, and everything else that moves bytes, is ``modelpack.registry``.
"""

from modelpack.image.direct.build import DirectResult, build_direct
from modelpack.image.direct.packages import LayerFile, PythonPlace, package_layers

__all__ = ["DirectResult", "LayerFile", "PythonPlace", "build_direct", "package_layers"]
