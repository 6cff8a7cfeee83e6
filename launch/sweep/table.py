"""What a sweep shows: one line a comparison with its verdict, and each arm's figures on each set of slides."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from launch.sweep.compare import FEWEST_PATIENTS, FEWEST_SEEDS, Result, cells_of, scores
from launch.sweep.config import SlideSet, SweepConfig


def markdown(sweep: SweepConfig, rows: Sequence[dict[str, Any]], results: Sequence[Result]) -> str:
    """The table as a page of Markdown; the same rows give the same text."""
    wanted = len(sweep.arms) * len(sweep.seeds)
    hours = sum(row["core_hours"] for row in rows if "found_in" not in row)
    lines = [f"# Sweep {sweep.name}", "", f"**Hypothesis.** {sweep.hypothesis}", "", f"**Budget.** {sweep.budget}", ""]
    lines += [f"{len(rows)} of {wanted} arms are finished; {hours:.1f} core hours were spent on them here.", ""]
    if elsewhere := _elsewhere(rows):
        lines += ["Rows that other sweeps left for campaigns with equal settings:", "", *elsewhere, ""]
    lines += ["| comparison | on | of | over | difference | 95 % interval | wanted | verdict |", "|---" * 8 + "|"]
    lines += [_line(sweep, result) for result in results]
    lines += ["", "Intervals resample seeds and patients, the same ones for both sides.", ""]
    sets = sweep.sets or _splits(rows)
    if sweep.sets:
        lines += [*(f"- **{name}**: {slides}" for name, slides in sweep.sets.items()), ""]
    lines += ["Mean IoU, mean over seeds ± spread:", ""]
    lines += [f"| arm | step | seeds | {' | '.join(sets)} |", "|---" * (3 + len(sets)) + "|"]
    lines += list(_means(sweep, rows, sets))
    lines += ["", "Each seed:", "", f"| arm | step | seed | {' | '.join(sets)} |", "|---" * (3 + len(sets)) + "|"]
    lines += list(_seeds(sweep, rows, sets))
    return "\n".join(lines) + "\n"


def _elsewhere(rows: Sequence[dict[str, Any]]) -> list[str]:
    """One line an arm and sweep: `- human-only, seeds 1, 2, 3: bench/human-only`."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in (row for row in rows if "found_in" in row):
        place = row["found_in"].removesuffix(f"-{row['seed']}.json")
        found.setdefault((row["arm"], place), []).append(str(row["seed"]))
    return [
        f"- {arm}, {'seeds' if len(seeds) > 1 else 'seed'} {', '.join(seeds)}: {place}"
        for (arm, place), seeds in found.items()
    ]


def _line(sweep: SweepConfig, result: Result) -> str:
    one = result.comparison
    sides = [f"{side.arm}{f', {side.step}' if side.step else ''}" for side in (one.of, one.over)]
    reached = (result.of, result.over)
    of, over = (f"{side}: {v.mean():.3f}" if len(v) else side for side, v in zip(sides, reached, strict=True))
    if not result.seeds:
        return f"| {one.name} | {_where(sweep, result)} | {of} | {over} | – | – | {result.wanted:+.3f} | no seed is finished |"
    spread = f"spread {result.spread:.3f}, " if len(result.seeds) > 1 else ""
    difference = f"{result.difference:+.3f} ({spread}n = {len(result.seeds)})"
    cells = (
        one.name,
        _where(sweep, result),
        of,
        over,
        difference,
        _interval(result),
        _wanted(result),
        _verdict(result),
    )
    return f"| {' | '.join(cells)} |"


def _where(sweep: SweepConfig, result: Result) -> str:
    named = result.comparison.slides
    return f"{named if isinstance(named, str) else sweep.slides_of(result.comparison)}, {result.patients} patients"


def _interval(result: Result) -> str:
    if result.low is None or result.high is None:
        few = result.patients < FEWEST_PATIENTS
        return f"{result.patients} patients: none" if few else f"{len(result.seeds)} of {FEWEST_SEEDS} seeds: none"
    return f"{result.low:+.3f} … {result.high:+.3f}"


def _wanted(result: Result) -> str:
    low = result.comparison.low_above
    return f"{result.wanted:+.3f}" + (f", low above {low:+.3f}" if low is not None else "")


def _verdict(result: Result) -> str:
    return {None: "seeds are missing", True: "**reached**", False: "**not reached**"}[result.passed]


def _splits(rows: Sequence[dict[str, Any]]) -> dict[str, SlideSet]:
    """Return the splits that were scored, for a sweep that names no sets."""
    found = dict.fromkeys(slide["split"] for row in rows for slide in row["slides"])
    return {split: SlideSet(split=split) for split in found}


def _means(sweep: SweepConfig, rows: Sequence[dict[str, Any]], sets: Mapping[str, SlideSet]) -> Iterator[str]:
    for arm in sweep.arms:
        of_arm = [row for row in rows if row["arm"] == arm]
        for step in of_arm[0]["steps"] if of_arm else ():
            found = np.array([[_score(row, step, slides) for slides in sets.values()] for row in of_arm])
            spread = found.std(0, ddof=1) if len(found) > 1 else [None] * len(sets)
            cells = [_shown(mean, one) for mean, one in zip(found.mean(0), spread, strict=True)]
            yield f"| {arm} | {step} | {len(found)} | {' | '.join(cells)} |"


def _seeds(sweep: SweepConfig, rows: Sequence[dict[str, Any]], sets: Mapping[str, SlideSet]) -> Iterator[str]:
    for arm in sweep.arms:
        for row in (row for row in rows if row["arm"] == arm):
            for step in row["steps"]:
                cells = [_shown(_score(row, step, slides)) for slides in sets.values()]
                yield f"| {arm} | {step} | {row['seed']} | {' | '.join(cells)} |"


def _score(row: dict[str, Any], step: str, slides: SlideSet) -> float:
    """Mean IoU; nan where nothing was scored."""
    cells = cells_of(row, step, slides)
    return float("nan") if cells is None else float(scores(cells.sum(1)))


def _shown(mean: float, spread: float | None = None) -> str:
    if np.isnan(mean):
        return "–"
    return f"{mean:.3f}" if spread is None or np.isnan(spread) else f"{mean:.3f} ± {spread:.3f}"
