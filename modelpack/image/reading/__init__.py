"""Images that are there already, wherever they are.

    references   what a reference means          choosing    by platform, by tag
    opening      open_image                      image       ReadImage, ReadLayer
    archives     one tar: docker save, OCI       exports     the engine's, kept by id
    unpacking    compression, digests, bombs     members     the files of a layer's tar

All of it reads: nothing of an image is run, and no file of one is ever written to disk.
"""

from modelpack.image.reading.image import ReadImage, ReadLayer
from modelpack.image.reading.members import Kind, Member, Pulled, members
from modelpack.image.reading.opening import open_image
from modelpack.image.reading.references import ImageReference, Where, parse_image

__all__ = [
    "ImageReference",
    "Kind",
    "Member",
    "Pulled",
    "ReadImage",
    "ReadLayer",
    "Where",
    "members",
    "open_image",
    "parse_image",
]
