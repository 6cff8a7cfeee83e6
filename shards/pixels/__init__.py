"""Pictures and masks that people bring as files, read exactly as they were written or refused with what they hold.

files  which kind of file it is, what its header says, and whether its bytes are whole
masks  one whole number a pixel: class numbers, never colours
tiles  one picture in 8-bit RGB
"""

from shards.pixels.masks import mask_size, mask_was_misread, open_mask, read_mask
from shards.pixels.tiles import read_tile, tile_size, tile_was_misread

__all__ = [
    "mask_size",
    "mask_was_misread",
    "open_mask",
    "read_mask",
    "read_tile",
    "tile_size",
    "tile_was_misread",
]
