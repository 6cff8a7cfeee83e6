"""The headline of an evaluation for a terminal of 80 columns."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mlseg_dist.report.words import Interval, limits, share, signed


def print_headline(found: Mapping[str, Any], path: Path) -> None:
    """Mean IoU and IoU per class of each split and step, with intervals. found: evaluation.json, which lies at `path`."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("on (patients)", "step", "mean IoU", *found["classes"][1:]):
        table.add_column(name, no_wrap=True)
    for split, steps in found["figures"].items():
        for number, (step, figures) in enumerate(steps.items()):
            pooled = figures["pooled"]
            each = [pooled["iou"][name] for name in found["classes"][1:]]
            label = f"{split} ({found['splits'][split]['patients']})" if number == 0 else ""
            table.add_row(label, escape(step), *map(_interval, (pooled["miou"], *each)))
    needed = Console(width=1000).measure(table).maximum  # a narrow terminal wraps; no figure is cut off
    console = Console(width=max(80, Console().width, needed), highlight=False)
    console.print(table)
    against = found["against"]
    for split, rows in (against["differences"] if against else {}).items():
        for row in rows:
            what = f"{split}: {row['to']} minus {row['from']} of {against['name']}"
            console.print(f"{what}: {_interval(row['miou'], sign=True)}", markup=False)
    console.print("IoU over annotated pixels, each once; [95 % interval over patients], from five patients on.")
    console.print(str(path), markup=False, soft_wrap=True)


def _interval(value: Interval, sign: bool = False) -> str:
    """`.812 [.75, .86]`; without the interval where there is none."""
    return f"{(signed if sign else share)(value['value'])} {limits(value, sign=sign)}".rstrip()
