"""An image as registries want it that know Docker's manifests alone.

    DirectImage ──in_schema2──► the same layers and config under a manifest of Docker's, schema 2

That manifest has gzip layers and no others, and no annotations; nothing is said about it, for what
is said would be an OCI manifest again.  The config, and with it the id of the image, has only the
layers' digests in it that are the same in both forms.  Facts: the distribution project, "Image
Manifest Version 2, Schema 2".
"""

from __future__ import annotations

import zlib
from dataclasses import replace

from modelpack.errors import RefusedError
from modelpack.image.direct.assembling import DirectImage, ImageLayer
from modelpack.image.direct.bundled import reading
from modelpack.image.direct.cache import LayerCache
from modelpack.image.direct.compressing import LEVEL, compress_file
from modelpack.image.direct.layer import GZIP_LAYER_TYPE, LAYER_TYPE, LayerWriter
from modelpack.image.reading.image import DOCKER_CONFIG_TYPE
from modelpack.manifest import canonical_json
from modelpack.progress import Progress
from modelpack.registry.base import DOCKER_MANIFEST_TYPE, Document
from modelpack.store.durable import Blob

DOCKER_LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def in_schema2(image: DirectImage, progress: Progress) -> DirectImage:
    """Return the image under a manifest of Docker's; its id stays the same.

    Layers that are not compressed are, into the cache.  Raises RefusedError for a layer of a base that
    is compressed in another way, and BuildError when the cache cannot be written.
    """
    cache = LayerCache()
    layers = tuple(_gzipped(layer, cache, image, progress) for layer in image.layers)
    config = image.config_blob
    manifest = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST_TYPE,
            "config": {
                "mediaType": DOCKER_CONFIG_TYPE,
                "digest": config.digest,
                "size": config.size,
            },
            "layers": [layer.descriptor() for layer in layers],
        }
    )
    return replace(image, layers=layers, manifest=Document(manifest, DOCKER_MANIFEST_TYPE))


def _gzipped(
    layer: ImageLayer, cache: LayerCache, image: DirectImage, progress: Progress
) -> ImageLayer:
    if layer.media_type == GZIP_LAYER_TYPE:
        return replace(layer, media_type=DOCKER_LAYER_TYPE)
    if layer.media_type != LAYER_TYPE:
        raise RefusedError(
            f"a layer of the base of '{image.plan.entry.tag}' is of the kind '{layer.media_type}', "
            "which Docker's manifests cannot name",
            hint="name a base with '--option base' whose layers are gzip",
        )

    def fill(out: LayerWriter) -> str:
        with cache.scratch() as folder, progress.step(f"compressing {layer.created_by or 'base'}"):
            plain = folder / "plain"
            with plain.open("wb") as file:
                for data in layer.chunks():
                    file.write(data)
            compress_file(plain, out)
        return layer.diff_id

    made = cache.ensure(
        {
            "layer": "gzip",
            "of": layer.blob.digest,
            "level": LEVEL,
            "zlib": zlib.ZLIB_RUNTIME_VERSION,
        },
        what=layer.created_by,
        created_by=layer.created_by,
        fill=fill,
        media_type=GZIP_LAYER_TYPE,
    )
    return replace(
        layer,
        media_type=DOCKER_LAYER_TYPE,
        blob=Blob(made.digest, made.size),
        chunks=reading(made.path, made.digest),
        is_base=False,  # other bytes than the base has
    )
