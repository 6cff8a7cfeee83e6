"""Which pixels of overlapping patches belong to which patch, so that each pixel of a slide counts once.

In: the slides and centres of patches. Out: for one patch, the pixels that no other patch is nearer to. Only positions are looked
at, and only those of a patch's neighbours, so a corpus of hundreds of thousands of patches costs a few bytes each.
"""

from collections.abc import Sequence

import numpy as np


class Ownership:
    """A pixel belongs to the patch whose centre is nearest by Chebyshev distance; of equally near ones, to the first in the list.

    A pixel that some patch shows is therefore owned by a patch that shows it, and the middle of a patch is its own. Positions are
    pixels of one view: a centre (row, column) is the corner at which four pixels meet.
    """

    def __init__(self, slides: Sequence[str], centres_N2: np.ndarray, reach: int) -> None:
        """slides, centres: of each patch, int64 (N, 2). reach: no patch shows pixels farther than this from its centre, px."""
        self.centres, self.reach = np.asarray(centres_N2, np.int64).reshape(-1, 2), reach
        slide = np.unique(np.array(slides, str), return_inverse=True)[1].astype(np.int64)
        cell = self.centres // (2 * reach)
        cell -= cell.min(axis=0, initial=0)
        # A border of empty cells around each slide keeps the neighbours of a cell on its slide.
        self._columns = int(cell[:, 1].max(initial=0)) + 3
        self._key = (slide * (int(cell[:, 0].max(initial=0)) + 3) + cell[:, 0] + 1) * self._columns + cell[:, 1] + 1
        self._order = np.argsort(self._key, kind="stable")
        self._sorted = self._key[self._order]

    def owned(self, patch: int, side: int) -> np.ndarray | None:
        """The patch's own pixels among the `side` x `side` (even) around its centre: bool (side, side), or None for none."""
        others, shifts = self._neighbours(patch)
        place = (
            2 * (np.arange(side, dtype=np.int32) - side // 2) + 1
        )  # twice the offset of a pixel's middle from the centre
        own = np.abs(place)
        mask = np.ones((side, side), bool)
        top, bottom, left, right = 0, side, 0, side  # of the box that holds what is still owned
        for other, (down, along) in zip(others.tolist(), shifts.tolist(), strict=True):
            farthest = max(own[top], own[bottom - 1], own[left], own[right - 1])
            if max(abs(down), abs(along)) > farthest:
                break  # this one, and all that follow, are farther from every pixel in the box
            box = np.s_[top:bottom, left:right]
            mine = np.maximum(own[top:bottom, None], own[left:right])
            theirs = np.maximum(np.abs(place[top:bottom, None] - 2 * down), np.abs(place[left:right] - 2 * along))
            mask[box] &= mine < theirs if other < patch else mine <= theirs
            rows, columns = (np.flatnonzero(mask[box].any(axis=axis)) for axis in (1, 0))
            if not len(rows):
                return None
            top, bottom = top + int(rows[0]), top + int(rows[-1]) + 1
            left, right = left + int(columns[0]), left + int(columns[-1]) + 1
        return mask

    def _neighbours(self, patch: int) -> tuple[np.ndarray, np.ndarray]:
        """Patches whose pixels may overlap this one's, nearest first, and their centres relative to it, (n, 2)."""
        around = self._key[patch] + np.arange(-1, 2) * self._columns
        begins = np.searchsorted(self._sorted, around - 1, "left")
        ends = np.searchsorted(self._sorted, around + 1, "right")
        found = np.concatenate([self._order[b:e] for b, e in zip(begins, ends, strict=True)])
        found = found[found != patch]
        shifts = self.centres[found] - self.centres[patch]
        distance = np.abs(shifts).max(axis=1, initial=0)
        near = distance < 2 * self.reach
        found, shifts, distance = found[near], shifts[near], distance[near]
        nearest_first = np.lexsort((found, distance))
        return found[nearest_first], shifts[nearest_first]


def first_of_each_place(slides: Sequence[str], centres_N2: np.ndarray) -> np.ndarray:
    """Ascending indices of the patches that are the first at their place; any other one owns nothing."""
    slide = np.unique(np.array(slides, str), return_inverse=True)[1].astype(np.int64)
    places = np.column_stack([slide, centres_N2])
    return np.sort(np.unique(places, axis=0, return_index=True)[1])
