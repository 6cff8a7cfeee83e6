"""A slide and a teacher in; a heat map that a person can look at, a class map and areas out.

Patches overlap by half; each counts most in its middle, so that no seam shows. Probabilities are kept on a coarser grid
(at most MAP_PX a side), since a whole slide at the network's resolution does not fit into memory.
"""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from mlseg_core.errors import UserError
from mlseg_core.files import write_atomic, write_json
from mlseg_core.own import refuse_foreign
from mlseg_core.progress import Progress
from mlseg_dist.config import CLASSES, LearningConfig
from mlseg_dist.data.prefetch import ReadAhead, Work, batch_memory
from mlseg_dist.evaluation.counts import decide
from mlseg_dist.evaluation.scoring import Teacher, predict_high
from mlseg_dist.inference import load_teacher
from mlseg_dist.report.heatmap import Picture, class_picture, heat_picture
from mlseg_dist.run_folder import shards_folder
from shards.audit.tissue import TissueMask, find_tissue
from shards.manifest import read_manifest
from shards.reader import SlideReader
from shards.scale import ScaleConflict, ScaleUnknown, check_fine_enough

_SUMMARY, _HEATMAP, _CLASSES = "summary.json", "heatmap.png", "classes.png"
MAP_PX = 4096
"""Most cells of the probability map along a side."""


@dataclass(frozen=True)
class Grid:
    """Where patches lie on a slide. Lengths in cells of the map, cell_px high px wide each; origin at the slide's corner.

    shape: (rows, columns) of the map; patch: cells along a patch's side (even; patches step by half of it).
    """

    shape: tuple[int, int]
    patch: int
    cell_px: int
    cell_um: float

    @property
    def step(self) -> int:
        return self.patch // 2

    def centres(self) -> np.ndarray:
        """(row, column) of patch centres, so that every cell lies in the central half of one patch; int (N, 2)."""
        rows, columns = (
            np.arange(self.step // 2, length + self.step // 2, self.step, dtype=np.int64) for length in self.shape
        )
        return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)


def make_grid(size_um: tuple[float, float], high_mpp: float, patch_px: int, most_cells: int = MAP_PX) -> Grid:
    """size_um: the slide's width and height. Cells are as fine as `most_cells` allows, 1, 2, 4 … high px."""
    cell_px = 1
    while max(size_um) / (high_mpp * cell_px) > most_cells and patch_px % (8 * cell_px) == 0:
        cell_px *= 2
    cell_um = high_mpp * cell_px
    width, height = (max(1, int(np.ceil(length / cell_um))) for length in size_um)
    return Grid((height, width), patch_px // cell_px, cell_px, cell_um)


class Stitcher:
    """Weighted mean of overlapping patches. add: probabilities (3, P, P) around a centre; mean: (3, rows, columns)."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._sum = np.zeros((len(CLASSES), *grid.shape), np.float32)
        self._weight = np.zeros(grid.shape, np.float32)
        # A raised cosine that is nearly nothing at the edge, where the network sees least around it.
        window = np.sin(np.pi * (np.arange(grid.patch) + 0.5) / grid.patch) ** 2
        self._window = (np.outer(window, window) + 1e-4).astype(np.float32)

    def add(self, centre: tuple[int, int], probabilities: np.ndarray) -> None:
        cells = block_mean(probabilities, self.grid.cell_px)
        spans = [
            _overlap(middle - self.grid.step, self.grid.patch, length)
            for middle, length in zip(centre, self.grid.shape, strict=True)
        ]
        (on_rows, from_rows), (on_columns, from_columns) = spans
        weight = self._window[from_rows, from_columns]
        self._sum[:, on_rows, on_columns] += weight * cells[:, from_rows, from_columns]
        self._weight[on_rows, on_columns] += weight

    def mean(self) -> np.ndarray:
        """nan where no patch lies."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self._weight > 0, self._sum / self._weight, np.nan).astype(np.float32)


def _overlap(first: int, length: int, limit: int) -> tuple[slice, slice]:
    """The part of [first, first + length) inside [0, limit): there, and within the patch."""
    low, high = max(0, first), min(limit, first + length)
    return slice(low, high), slice(low - first, high - first)


def block_mean(maps_CHW: np.ndarray, block: int) -> np.ndarray:
    """Means of block x block px."""
    channels, height, width = maps_CHW.shape
    return maps_CHW.reshape(channels, height // block, block, width // block, block).mean(axis=(2, 4))


def _is_summary(path: Path) -> bool:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and {"slide", "step", "patches", "areas_mm2"} <= found.keys()


def predict_slide(
    config: LearningConfig,
    step_index: int,
    run: Path,
    slide: Path,
    out: Path,
    mpp: float | None = None,
    override: bool = False,
) -> dict[str, Any]:
    """Write out/heatmap.png, out/classes.png and out/summary.json; returns the summary (areas in mm²).

    mpp: level-0 µm/px of a slide that does not say it itself, or says it wrongly, which `override` confirms.
    Raises UserError, also where files of somebody else have these names.
    """
    outputs = [out / name for name in (_SUMMARY, _HEATMAP, _CLASSES)]
    is_ours = _is_summary(outputs[0])  # it is written last, and vouches for the pictures
    refuse_foreign(outputs, lambda path: is_ours)
    views = read_manifest(shards_folder(run) / "manifest.json").views
    with _open(slide, mpp, override) as reader:
        check_fine_enough(reader.mpp, views["high_mpp"], slide, "the network")
        teacher = load_teacher(config, step_index, run)
        tissue = find_tissue(reader)
        size_um = (reader.size[0] * reader.mpp[0], reader.size[1] * reader.mpp[1])
        grid = make_grid(size_um, views["high_mpp"], config.train.patch_px)
        on_tissue = tissue_cells(tissue, grid)
        centres = wanted_centres(grid, on_tissue)
        if not len(centres):
            raise UserError("no tissue found on the slide", slide, "Look at it: to Otsu's threshold it is all glass.")
        stitcher = Stitcher(grid)
        _predict(config, teacher, reader, views, grid, centres, stitcher)
        thumbnail = reader.thumbnail(2048)
    probabilities = stitcher.mean()
    classes = decide(np.nan_to_num(probabilities)[None], config.evaluate.threshold)[0]
    step = config.steps[step_index].name
    areas = {name: _area(on_tissue & (classes == number), grid) for number, name in enumerate(CLASSES)}
    summary: dict[str, Any] = {
        "slide": slide.name,
        "step": step,
        "threshold": config.evaluate.threshold,
        "mpp": list(reader.mpp),
        "patches": len(centres),
        "cell_um": grid.cell_um,
        "tissue_mm2": _area(on_tissue, grid),
        "areas_mm2": areas,
    }
    picture = Picture(slide.name, step, thumbnail, probabilities, classes, on_tissue, size_um, areas)
    write_atomic(out / _HEATMAP, heat_picture(picture))
    write_atomic(out / _CLASSES, class_picture(picture))
    write_json(out / _SUMMARY, summary)
    return summary


def _open(slide: Path, mpp: float | None, override: bool) -> SlideReader:
    if not slide.is_file():
        raise UserError("no such slide", slide, "Check the path.")
    if mpp is not None and not 0.01 < mpp < 100:
        raise UserError(f"{mpp:g} µm/px is no sensible resolution", "mpp", "Give µm per level-0 px, for example 0.25.")
    try:
        return SlideReader(slide, mpp, override=override)
    except ScaleUnknown as error:  # the reader speaks of the slide table, which has no part in this command
        raise UserError(error.what, slide, "Give it: --mpp 0.25 (what the scanner used).") from None
    except ScaleConflict as error:
        raise UserError(error.what, slide, "Leave --mpp out, or add --mpp-override if the file is wrong.") from None


def tissue_cells(tissue: TissueMask, grid: Grid) -> np.ndarray:
    """Which cells of the map lie on tissue, bool (rows, columns)."""
    mask = tissue.mask.astype(np.uint8)
    return cv2.resize(mask, grid.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0


def wanted_centres(grid: Grid, on_tissue: np.ndarray) -> np.ndarray:
    """Centres of the patches whose central half holds tissue; int (N, 2)."""
    half = grid.step // 2
    keep = [on_tissue[max(0, r - half) : r + half, max(0, c - half) : c + half].any() for r, c in grid.centres()]
    return grid.centres()[np.array(keep, bool)]


def _predict(
    config: LearningConfig,
    teacher: Teacher,
    reader: SlideReader,
    views: dict[str, float],
    grid: Grid,
    centres: np.ndarray,
    stitcher: Stitcher,
) -> None:
    px, batch = config.train.patch_px, config.evaluate.batch
    ratio = round(views["low_mpp"] / views["high_mpp"])
    progress = Progress(f"predict {reader.path.name}", len(centres), "patches")

    def begin(part: np.ndarray) -> Work[tuple[np.ndarray, dict[str, torch.Tensor]], None]:
        memory = batch_memory(torch.cuda.is_available(), high=(len(part), px, px, 3), low=(len(part), px, px, 3))
        return Work((part, memory), [partial(read, view, memory[view], part) for view in memory])

    def read(view: str, target: torch.Tensor, part: np.ndarray) -> None:
        for place, (row, column) in enumerate(part):
            point = (column * grid.cell_um / reader.mpp[0], row * grid.cell_um / reader.mpp[1])
            target[place].numpy()[:] = reader.read(point, views[f"{view}_mpp"], px)[0]

    parts = (centres[first : first + batch] for first in range(0, len(centres), batch))
    # One thread: an open slide keeps decoded tiles, and is not made for several readers at a time.
    with ReadAhead(parts, begin, threads=1, name="predict") as coming:
        for (part, memory), _ in coming:
            answers = predict_high(teacher, memory["high"].numpy(), memory["low"].numpy(), ratio)
            for centre, maps in zip(part, answers, strict=True):
                stitcher.add((int(centre[0]), int(centre[1])), maps)
            progress.advance(len(part))
    progress.finish()


def _area(cells: np.ndarray, grid: Grid) -> float:
    return round(float(cells.sum()) * grid.cell_um**2 / 1e6, 6)
