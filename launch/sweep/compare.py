"""Rows -> differences with paired intervals over seeds and patients, and verdicts. Numpy alone.

Both sides of a comparison are scored on the same slides with the same seeds, so that what seeds and patients have in common
cancels. A resample draws seeds and patients with replacement, the same ones for both sides (Efron & Tibshirani 1993, ch. 8).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from launch.sweep.config import Comparison, Side, SlideSet, SweepConfig
from mlseg_core.errors import UserError
from mlseg_core.randomness import generator

RESAMPLES = 2000
FEWEST_PATIENTS, FEWEST_SEEDS = 5, 3


@dataclass(frozen=True)
class Result:
    """What came of a comparison. of, over: mean IoU, one a seed. low, high: None with too few patients or seeds.

    wanted: least difference (a share of another's difference has been worked out). passed: None while seeds are missing.
    """

    comparison: Comparison
    seeds: tuple[int, ...]
    patients: int
    of: np.ndarray
    over: np.ndarray
    low: float | None
    high: float | None
    wanted: float
    passed: bool | None

    @property
    def difference(self) -> float:
        return float((self.of - self.over).mean()) if len(self.seeds) else float("nan")

    @property
    def spread(self) -> float:
        """Standard deviation over seeds of the difference; nan for a single one."""
        each = self.of - self.over
        return float(each.std(ddof=1)) if len(each) > 1 else float("nan")


def compare(sweep: SweepConfig, rows: Sequence[dict[str, Any]]) -> list[Result]:
    """One result a comparison, in the file's order, from the seeds that both sides have finished."""
    results: dict[str, Result] = {}
    for comparison in sorted(sweep.compare, key=lambda one: one.share_of is not None):
        wanted = comparison.at_least
        if comparison.share_of is not None:
            wanted *= results[comparison.share_of].difference
        results[comparison.name] = _result(sweep, comparison, rows, wanted)
    return [results[comparison.name] for comparison in sweep.compare]


def _result(sweep: SweepConfig, comparison: Comparison, rows: Sequence[dict[str, Any]], wanted: float) -> Result:
    by_key = {(row["arm"], row["seed"]): row for row in rows}
    seeds = [
        seed for seed in sweep.seeds if (comparison.of.arm, seed) in by_key and (comparison.over.arm, seed) in by_key
    ]
    if not seeds:
        return Result(comparison, (), 0, np.empty(0), np.empty(0), None, None, wanted, None)
    slides = sweep.slides_of(comparison)
    sides = []
    for side in (comparison.of, comparison.over):
        sides.append(np.stack([_cells(by_key[side.arm, seed], side, comparison, slides) for seed in seeds]))
    patients = sides[0].shape[2]
    of, over = (scores(cells.sum(2)) for cells in sides)
    low = high = None
    if patients >= FEWEST_PATIENTS and len(seeds) >= FEWEST_SEEDS:
        random = generator(0, "sweep", sweep.name, comparison.name)
        low, high = _interval(sides[0], sides[1], random)
    passed = None
    if len(seeds) == len(sweep.seeds):
        passed = float((of - over).mean()) >= wanted
        if comparison.low_above is not None:
            passed = passed and low is not None and low > comparison.low_above
    return Result(comparison, tuple(seeds), patients, of, over, low, high, wanted, passed)


def _cells(row: dict[str, Any], side: Side, comparison: Comparison, on: SlideSet) -> np.ndarray:
    """As cells_of. Raises UserError when a side has no figures there."""
    step = side.step or last_step(row)
    cells = cells_of(row, step, on)
    if cells is None:
        left = cells_of(row, last_step(row), on) is not None
        what = f"step {step} has no figures there" if left else "no slide is left"
        raise UserError(f"comparison {comparison.name!r}, arm {row['arm']}: {what}", on.split, "Correct `compare`.")
    return cells


def last_step(row: dict[str, Any]) -> str:
    """Return the last step of the campaign's own ladder that was scored."""
    return str(next(name for name in reversed(row["own_steps"]) if name in row["steps"]))


def cells_of(row: dict[str, Any], step: str, on: SlideSet) -> np.ndarray | None:
    """Return the confusions of a step's teacher, int64 (groups, patients, 3, 3).

    on: the slides; groups are those of its `mean_over`. None: none of them was scored with that step.
    """
    slides = [slide for slide in row["slides"] if slide["split"] == on.split and step in slide["confusions"]]
    slides = [s for s in slides if all(s[factor] in names for factor, names in on.only.items())]
    if not slides:
        return None
    groups = sorted({slide[on.mean_over] for slide in slides}) if on.mean_over else [""]
    patients = sorted({slide["patient"] for slide in slides})
    cells = np.zeros((len(groups), len(patients), 3, 3), np.int64)
    for slide in slides:
        group = groups.index(slide[on.mean_over]) if on.mean_over else 0
        cells[group, patients.index(slide["patient"])] += np.array(slide["confusions"][step]).reshape(3, 3)
    return cells


def scores(confusions: np.ndarray) -> np.ndarray:
    """Confusions (..., groups, 3, 3) -> mean over groups of mean IoU over the classes that occur, (...)."""
    hit = np.diagonal(confusions, axis1=-2, axis2=-1).astype(float)
    union = confusions.sum(-1) + confusions.sum(-2) - hit
    iou = np.divide(hit, union, out=np.full(hit.shape, np.nan), where=union > 0)
    found: np.ndarray = np.nanmean(np.nanmean(iou, axis=-1), axis=-1)
    return found


def _interval(of: np.ndarray, over: np.ndarray, random: np.random.Generator) -> tuple[float, float]:
    """95 % percentiles of the mean difference. of, over: (seeds, groups, patients, 3, 3)."""
    seeds, _, patients = of.shape[:3]
    people = random.multinomial(patients, np.full(patients, 1 / patients), size=RESAMPLES)
    runs = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES) / seeds
    drawn = [scores(np.einsum("rp,sgpij->rsgij", people, side)) for side in (of, over)]
    differences = (runs * (drawn[0] - drawn[1])).sum(1)
    low, high = np.nanpercentile(differences, [2.5, 97.5])
    return float(low), float(high)
