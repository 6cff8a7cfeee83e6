"""A picture to a tiled pyramidal TIFF that OpenSlide opens as generic-tiff. Same picture, same bytes."""

from pathlib import Path

import cv2
import numpy as np
import tifffile

LEVELS = 4
TILE_PX = 256


def write_pyramid(path: Path, picture: np.ndarray, mpp: float, quality: int) -> None:
    """picture: rows×columns×3 uint8 RGB at `mpp` µm/px. Each level halves the one before."""
    with tifffile.TiffWriter(path) as writer:
        for level in range(LEVELS):
            if level:
                picture = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            writer.write(
                picture,
                tile=(TILE_PX, TILE_PX),
                photometric="rgb",  # of the array; subsampling given, tifffile stores YCbCr
                subsampling=(1, 1),
                compression="jpeg",
                compressionargs={"level": quality},
                resolution=(1e4 / (mpp * 2**level), 1e4 / (mpp * 2**level)),
                resolutionunit="CENTIMETER",
                subfiletype=1 if level else 0,
                software="mlseg phantom",
                metadata=None,
                maxworkers=1,
            )
