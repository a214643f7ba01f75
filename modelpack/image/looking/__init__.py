"""What is in an image, and what is different in another one.

    contents, remembered   one layer           tree        layers over each other
    packages               sizes by package    described   all of it: ``look``
    difference             two images, and what a push of the second costs

Nothing is run and nothing is unpacked onto the disk.
"""

from modelpack.image.looking.described import Looked, LookedLayer, look
from modelpack.image.looking.difference import ImageDifference, compare_images

__all__ = ["ImageDifference", "Looked", "LookedLayer", "compare_images", "look"]
