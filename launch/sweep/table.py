"""What a sweep shows: one line a comparison with its verdict, and one a step of each arm."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from launch.sweep.compare import FEWEST_PATIENTS, FEWEST_SEEDS, Result, scores
from launch.sweep.config import SweepConfig


def markdown(sweep: SweepConfig, rows: Sequence[dict[str, Any]], results: Sequence[Result]) -> str:
    """The table as a page of Markdown; the same rows give the same text."""
    wanted = len(sweep.arms) * len(sweep.seeds)
    hours = sum(row["core_hours"] for row in rows if "found_in" not in row)
    lines = [f"# Sweep {sweep.name}", "", f"**Hypothesis.** {sweep.hypothesis}", "", f"**Budget.** {sweep.budget}", ""]
    lines += [f"{len(rows)} of {wanted} arms are finished; {hours:.1f} core hours were spent on them here.", ""]
    elsewhere = [f"{row['arm']}-{row['seed']} is {row['found_in']}" for row in rows if "found_in" in row]
    if elsewhere:
        lines += [f"Rows that other sweeps left for campaigns with equal settings: {', '.join(elsewhere)}.", ""]
    lines += ["| comparison | on | of | over | difference | 95 % interval | wanted | verdict |", "|---" * 8 + "|"]
    lines += [_line(result) for result in results]
    lines += [
        "",
        "Means of mean IoU over seeds; intervals resample seeds and patients, the same ones for both sides.",
        "",
    ]
    lines += ["| arm | step | split | seeds | mean IoU | spread over seeds |", "|---" * 6 + "|"]
    lines += list(_arms(sweep, rows))
    return "\n".join(lines) + "\n"


def _line(result: Result) -> str:
    one = result.comparison
    sides = [f"{side.arm}{f', {side.step}' if side.step else ''}" for side in (one.of, one.over)]
    reached = (result.of, result.over)
    of, over = (f"{side}: {v.mean():.3f}" if len(v) else side for side, v in zip(sides, reached, strict=True))
    if not result.seeds:
        return f"| {one.name} | {_where(result)} | {of} | {over} | – | – | {result.wanted:+.3f} | no seed is finished |"
    spread = f"spread {result.spread:.3f}, " if len(result.seeds) > 1 else ""
    difference = f"{result.difference:+.3f} ({spread}n = {len(result.seeds)})"
    cells = (one.name, _where(result), of, over, difference, _interval(result), _wanted(result), _verdict(result))
    return f"| {' | '.join(cells)} |"


def _where(result: Result) -> str:
    one = result.comparison
    only = "; ".join(f"{factor} {', '.join(names)}" for factor, names in one.only.items())
    mean = f"mean over {one.mean_over}" if one.mean_over else ""
    return ", ".join(part for part in (one.split, only, mean, f"{result.patients} patients") if part)


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


def _arms(sweep: SweepConfig, rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    splits = list(dict.fromkeys(slide["split"] for row in rows for slide in row["slides"]))
    for arm in sweep.arms:
        of_arm = [row for row in rows if row["arm"] == arm]
        for step in of_arm[0]["steps"] if of_arm else ():
            for split in splits:
                found = np.array([_pooled(row, step, split) for row in of_arm])
                spread = f"{found.std(ddof=1):.3f}" if len(found) > 1 else "–"
                yield f"| {arm} | {step} | {split} | {len(found)} | {found.mean():.3f} | {spread} |"


def _pooled(row: dict[str, Any], step: str, split: str) -> float:
    slides = [slide for slide in row["slides"] if slide["split"] == split]
    cells = [slide["confusions"][step] for slide in slides if step in slide["confusions"]]
    return float(scores(np.sum(np.array(cells), 0).reshape(1, 3, 3))) if cells else float("nan")
