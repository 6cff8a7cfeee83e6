"""One annotated polygon less its holes, filled on any view."""

import numpy as np

from shards.annotation.drawing import Shape
from shards.annotation.raster import Ring, Window, overlap, window_of


class Region:
    """One annotated polygon less its holes, and its fine class id."""

    def __init__(self, shape: Shape, fine: int) -> None:
        self.layer, self.fine = shape.layer, fine
        self.exterior, *self.holes = [Ring(points) for points in shape.rings]

    def fill(self, corner: tuple[float, float], step: tuple[float, float], window: Window) -> np.ndarray:
        """bool (height, width) of the window, see Ring.fill."""
        inside = self.exterior.fill(corner, step, window)
        for hole in self.holes:
            part = overlap(window_of(hole.bounds, corner, step, (window[2], window[3])), window)
            if part is not None:
                x0, y0 = part[0] - window[0], part[1] - window[1]
                cut = hole.fill(corner, step, part)
                inside[y0 : y0 + cut.shape[0], x0 : x0 + cut.shape[1]] &= 1 - cut
        return inside.view(bool)
