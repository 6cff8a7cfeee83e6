"""The slide and its tissue mask as small pictures for a page: JPEG and PNG bytes."""

import cv2
import numpy as np

from shards.audit.tissue import TissueMask
from shards.reader import SlideReader
from shards.sample import encode_jpeg, encode_png

LONGEST_PX = 1024


def thumbnail_jpeg(reader: SlideReader) -> bytes:
    """The whole slide, its longer side at most 1024 px."""
    return encode_jpeg(reader.thumbnail(LONGEST_PX), 85)


def mask_png(tissue: TissueMask) -> bytes:
    """The whole slide, tissue white on black, its longer side at most 1024 px."""
    height, width = tissue.mask.shape
    factor = min(1.0, LONGEST_PX / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    shares = cv2.resize(tissue.mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return encode_png(np.where(shares >= 0.5, 255, 0).astype(np.uint8))
