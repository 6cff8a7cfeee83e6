"""The engine: a slide, a region and a network in; strips of probabilities from the slide's top to its bottom out.

Threads read the next patches while the device works on these (data/prefetch.py). Patches come row by row, so that rows
of the map are finished one strip after the other.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch

from mlseg_dist.config import IGNORED
from mlseg_dist.data.prefetch import ReadAhead, Work, batch_memory
from mlseg_dist.whole_slide.grid import OVERLAP, SlideGrid
from mlseg_dist.whole_slide.network import SlideNetwork
from mlseg_dist.whole_slide.reading import SlideViews
from mlseg_dist.whole_slide.regions import Region, wanted_patches
from mlseg_dist.whole_slide.stitching import RollingStitcher, Window, window
from shards.audit.inspect import MOST_UNREADABLE, BadSlide, check_unreadable
from shards.manifest import Manifest

__all__ = ["OVERLAP", "Facts", "Strip", "WholeSlide", "strongest_class", "view_side"]
_AHEAD = 2


def view_side(corpus: Manifest) -> int:
    """Side of the views, px: as large as those that teachers label, larger than those they learn from.

    At the border of a view a network guesses, and its channel attention averages over the view: larger views change less
    where the grid moves (benchmarks/results/whole-slide-seams.md), at the same price for each pixel.
    """
    return round(corpus.views["store_px"])


@dataclass(frozen=True)
class Strip:
    """Rows [top, top + h) of the map. The arrays are used again for the next strip: copy what is to last.

    probabilities: float32 (3, h, columns) on the network's device; nan where `answered` is False.
    answered: bool (h, columns) on the device: some patch lies there, and every patch there gave numbers.
    region: bool (h, columns) in the host's memory: the cells of interest.
    """

    grid: SlideGrid
    top: int
    probabilities: torch.Tensor
    answered: torch.Tensor
    region: np.ndarray

    @property
    def corner(self) -> tuple[float, float]:
        """Top left corner, level-0 px (x, y). A cell is grid.cell_level0 px wide and high."""
        return self.grid.corner(self.top, 0)

    def bad(self) -> np.ndarray:
        """Cells of the region that have no answer, bool (h, columns): the network gave no number, or px cannot be decoded."""
        return self.region & ~self.answered.cpu().numpy()

    def classes(self, threshold: float) -> torch.Tensor:
        """uint8 (h, columns) on the device: the strongest class at or above the threshold, else background.

        IGNORED where there is no answer: that is not background.
        """
        best, strongest = strongest_class(self.probabilities)
        best *= strongest >= threshold
        return torch.maximum(best, (~self.answered).to(torch.uint8) * IGNORED)


def strongest_class(probabilities: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(3, …) -> the strongest class of each cell, of equal ones the first, uint8 (…), and its probability (…)."""
    strongest = probabilities[0]
    best = torch.zeros(strongest.shape, dtype=torch.uint8, device=strongest.device)
    for number, one in enumerate(probabilities[1:], start=1):  # a sixth of the time that max(dim=0) takes on a CPU
        best = torch.maximum(best, (one > strongest).to(torch.uint8) * number)
        strongest = torch.maximum(strongest, one)
    return best, strongest


@dataclass
class Facts:
    """What came of a slide's patches; complete once all strips are used.

    unreadable, not_finite: patches left out as their pixels cannot be decoded; patches with cells that are no number.
    Each with one of the reasons.
    """

    patches: int = 0
    unreadable: int = 0
    why_unreadable: str = ""
    not_finite: int = 0
    where_not_finite: str = ""

    def check(self) -> None:
        """Raises BadSlide when more than 1 % of the patches are of one of these kinds."""
        check_unreadable(self.unreadable, self.patches, self.why_unreadable)
        if self.not_finite > MOST_UNREADABLE * self.patches:
            raise BadSlide(
                f"the network's answer to {self.not_finite} of {self.patches} patches is no number ({self.where_not_finite})"
            )


@dataclass(frozen=True)
class _Result:
    """A patch's probabilities (3, P, P), None when it cannot be decoded, and their sum, both on the device."""

    row: int
    column: int
    answer: torch.Tensor | None
    sum: torch.Tensor


@dataclass
class WholeSlide:
    """One pass over a slide. strips() is to be called once; facts tells how many patches there are before that.

    halo_px: see wanted_patches. done: told how many patches more are through. weights: other ones than stitching.window.
    """

    views: SlideViews
    network: SlideNetwork
    grid: SlideGrid
    region: Region
    batch: int
    threads: int
    halo_px: int = 0
    done: Callable[[int], None] = lambda patches: None
    weights: Window = window
    facts: Facts = field(default_factory=Facts)

    def __post_init__(self) -> None:
        self._wanted = wanted_patches(self.grid, self.region, self.halo_px)
        self.facts.patches = sum(map(len, self._wanted))

    @torch.no_grad()
    def strips(self) -> Iterator[Strip]:
        """From top to bottom, without a gap. Raises BadSlide at the end (see Facts), and what reading raises."""
        grid = self.grid
        cell, (rows, columns) = grid.cell_px, grid.patches
        stitcher = RollingStitcher(
            columns, grid.patch // cell, grid.step // cell, cell, self.network.device, self.weights
        )
        with closing(self._results()) as results:  # else the reading threads would outlive a strip that nobody asks for
            coming = next(results, None)
            for row in range(rows):
                sums = []
                while coming is not None and coming.row == row:
                    if coming.answer is not None:
                        stitcher.add(coming.column, coming.answer)
                        sums.append((coming.column, coming.sum))
                    coming = next(results, None)
                self._note_wrong(row, sums)
                yield from self._strip(stitcher, row, last=row == rows - 1)
                stitcher.roll()
        self.facts.check()

    def _strip(self, stitcher: RollingStitcher, row: int, last: bool) -> Iterator[Strip]:
        grid = self.grid
        start, left = grid.start(row) // grid.cell_px, -(grid.start(0) // grid.cell_px)
        top, bottom = max(0, start), min(grid.size[0], start + (stitcher.patch if last else stitcher.step))
        if top >= bottom:
            return
        probabilities, answered = (
            found[..., left : left + grid.size[1]] for found in stitcher.rows(top - start, bottom - start)
        )
        yield Strip(grid, top, probabilities, answered, self.region.rows(top, bottom))

    def _note_wrong(self, row: int, sums: Sequence[tuple[int, torch.Tensor]]) -> None:
        """sums: column of a patch and the sum of its answers. The only place that waits for the device, once a row of patches."""
        found = torch.stack([total for _, total in sums]).isfinite().tolist() if sums else []
        wrong = [column for (column, _), is_finite in zip(sums, found, strict=True) if not is_finite]
        if wrong and not self.facts.not_finite:
            x, y = self.grid.centre_level0(row, wrong[0])
            self.facts.where_not_finite = f"the first is centred on x {x:.0f}, y {y:.0f}"
        self.facts.not_finite += len(wrong)

    def _results(self) -> Generator[_Result, None, None]:
        """Results of all patches, in order."""
        todo = np.array(
            [(row, column) for row, columns in enumerate(self._wanted) for column in columns.tolist()], np.int64
        ).reshape(-1, 2)
        parts = (todo[first : first + self.batch] for first in range(0, len(todo), self.batch))
        with ReadAhead(parts, self._begin, self.threads, _AHEAD, name="slide") as coming:
            for (part, memory), reasons in coming:
                self._forget(int(part[0, 0]))
                answers = self.network.answers(memory["high"], memory["low"])
                sums = answers.sum(dim=(1, 2, 3))
                for number, ((row, column), why) in enumerate(zip(part.tolist(), reasons, strict=True)):
                    if why:
                        self.facts.unreadable += 1
                        self.facts.why_unreadable = self.facts.why_unreadable or why
                    yield _Result(row, column, None if why else answers[number], sums[number])
                self.done(len(part))

    def _begin(self, part: np.ndarray) -> Work[tuple[np.ndarray, dict[str, torch.Tensor]], str]:
        # The last batch is filled up: cuDNN times its algorithms anew for every shape (settle_gpu).
        shape = (self.batch, self.grid.patch, self.grid.patch, 3)
        memory = batch_memory(self.network.device.type == "cuda", high=shape, low=shape)
        for view in memory.values():
            view[len(part) :] = 0
        return Work((part, memory), [partial(self._read, place, memory, i) for i, place in enumerate(part.tolist())])

    def _read(self, place: tuple[int, int], memory: dict[str, torch.Tensor], position: int) -> str:
        """Fill both views of a patch; returns why that cannot be done, or ""."""
        reasons = []
        for view, (left, top) in self._corners(place).items():
            reasons.append(self.views.planes[view].crop(left, top, memory[view][position].numpy()))
        return next(filter(None, reasons), "")

    def _corners(self, place: tuple[int, int]) -> dict[str, tuple[int, int]]:
        """Where both views of the patch (row, column) lie: left, top in px of their planes."""
        grid = self.grid
        top, left = grid.start(place[0]), grid.start(place[1])
        half = grid.patch // 2
        low = ((left + half) // grid.ratio - half, (top + half) // grid.ratio - half)
        return {"high": (left, top), "low": low}

    def _forget(self, row: int) -> None:
        """All patches above this row are read."""
        for view, (_, top) in self._corners((row, 0)).items():
            self.views.planes[view].forget_above(top)
