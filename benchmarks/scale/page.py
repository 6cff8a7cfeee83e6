"""Measurements of scale -> Markdown: tables, how they grow, which goals are met."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.common.processes import machine
from benchmarks.scale.cost import Estimate
from benchmarks.scale.traced import METADATA, Counts

PARTS = {
    "decide": "planner's decision",
    "plan": "`mlseg plan RUN --json`",
    "order": "start of one rank: order",
    "units": "start of one worker: units",
    "map": "one round, 256 workers",
    "merge": "merge (write_round)",
    "believe": "training's check of the round",
}
_TB, _MB = 1e12, 1e6
_IN_MEMORY = " The corpora lay in memory (tmpfs), where fsync costs nothing: times are without a disk."
LINEAR = 1.1
"""Largest exponent that counts as linear."""


@dataclass(frozen=True)
class Size:
    """How large a corpus is."""

    pairs: int
    shards: int

    @property
    def name(self) -> str:
        return f"{self.pairs / 1e6:g} M in {self.shards:,}"


@dataclass
class Result:
    """What one part took at one size. said: what it printed. counts: None where strace does not run."""

    said: dict[str, Any]
    counts: Counts | None = None


@dataclass
class Table:
    """size -> part -> result; left_out: size -> why.  in_memory: where the corpora lay."""

    rows: dict[Size, dict[str, Result]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    in_memory: bool = False


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Slope of log(value) over log(size), least squares. NaN for fewer than two."""
    if len(sizes) < 2 or min(values) <= 0:
        return math.nan
    x, y = [math.log(v) for v in sizes], [math.log(v) for v in values]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum((a - mean_x) ** 2 for a in x)


def markdown(table: Table, estimates: Sequence[Estimate], command: str, wall_s: float) -> str:
    """The whole page."""
    lines = [
        "# Scale",
        "",
        f"`{command}` on {machine()}, shared with other work; {wall_s / 60:.1f} minutes.",
        "",
        "Campaigns of `configs/recommended.yaml` as manifests, records and plans only: shards, base, label-1 and master-1 are",
        f"done, label-2 is to do.{_IN_MEMORY * table.in_memory}",
        "",
        *(f"Left out: {why}" for why in table.left_out),
        "",
        *_parts(table),
        *_operations(table),
        *_growth(table),
        *_goals(table),
        *_costs(estimates),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _parts(table: Table) -> list[str]:
    lines = [
        "## Time and memory",
        "",
        "Each a process of its own. Imports are not in the seconds (torch's take most of `mlseg plan`, which",
        "imports inside); peak MiB is with them. CPU s where another load must not count.",
        "",
    ]
    lines += ["| part | pairs in shards | s | CPU s | imports s | peak MiB | |", "|---|---|---:|---:|---:|---:|---|"]
    for part, name in PARTS.items():
        for size, results in table.rows.items():
            if part in results:
                said = results[part].said
                cells = [_number(said.get(key)) for key in ("seconds", "cpu_s", "imports_s", "peak_mib")]
                lines.append(f"| {name} | {size.name} | {' | '.join(cells)} | {said.get('note', '')} |")
    return [*lines, ""]


def _operations(table: Table) -> list[str]:
    lines = [
        "## File operations",
        "",
        "Counted by `strace -f -y` in a run of its own, on paths in the run folder. Metadata: open, stat of a path, rename, link,",
        "unlink, mkdir, getdents and their kin, whether they succeed or not; fsync and the stat of an open file apart.",
        "",
    ]
    if all(result.counts is None for results in table.rows.values() for result in results.values()):
        return [*lines, "**Not counted: strace is not installed, or may not trace here.**", ""]
    lines += [
        "| part | pairs in shards | metadata | a shard | fsync a shard | stat of open files a shard | MB read | written | mostly |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for part, name in PARTS.items():
        for size, results in table.rows.items():
            counts = results[part].counts if part in results else None
            if counts is not None:
                lines.append(f"| {name} | {size.name} | {_of_counts(counts, size.shards)} |")
    return [*lines, ""]


def _of_counts(counts: Counts, shards: int) -> str:
    each = (f"{n / shards:.2f}" for n in (counts.metadata, counts.syncs, counts.calls["fstat"]))
    moved = (f"{n / _MB:,.1f}" for n in (counts.read, counts.written))
    calls = [(name, n) for name, n in counts.calls.most_common() if name in METADATA]
    most = ", ".join(f"{name} {n / shards:.2f}" for name, n in calls[:6]) if counts.metadata > shards else ""
    return " | ".join([f"{counts.metadata:,}", *each, *moved, most])


def _growth(table: Table) -> list[str]:
    lines = [
        "## Growth",
        "",
        f"Exponents over the pairs: of all sizes, and between the two largest. Above {LINEAR} grows faster than linearly.",
        "",
        "| part | CPU s: all | last | peak MiB: last | metadata: all | last | |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for part, name in PARTS.items():
        cpu = _slopes(table, part, lambda r: r.said["cpu_s"])
        memory = _slopes(table, part, lambda r: r.said["peak_mib"])
        calls = _slopes(table, part, lambda r: r.counts.metadata if r.counts else 0)
        if cpu is None or memory is None or calls is None:
            continue
        worst = max((v for v in (cpu[1], memory[1], calls[1]) if not math.isnan(v)), default=math.nan)
        verdict = "**faster than linearly**" if worst > LINEAR else ""
        cells = [_number(v) for v in (*cpu, memory[1], *calls)]
        lines.append(f"| {name} | {' | '.join(cells)} | {verdict} |")
    return [*lines, ""]


def _slopes(table: Table, part: str, value: Callable[[Result], float]) -> tuple[float, float] | None:
    found = sorted((size.pairs, value(results[part])) for size, results in table.rows.items() if part in results)
    if not found:
        return None
    sizes, values = zip(*found, strict=True)
    return exponent(sizes, values), exponent(sizes[-2:], values[-2:])


def _goals(table: Table) -> list[str]:
    lines = ["## Goals", "", "| goal | pairs in shards | measured | |", "|---|---|---:|---|"]
    for size, results in table.rows.items():
        rows: list[tuple[str, float, float, str]] = []
        for part, goal, limit in (("plan", "planner, imports included", 10.0), ("merge", "merge", 60.0)):
            if part in results:
                said = results[part].said
                rows.append(
                    (f"{goal} < {limit:g} s", said["seconds"] + said["imports_s"] * (part == "plan"), limit, " s")
                )
        counts = results["map"].counts if "map" in results else None
        merge = results["merge"].counts if "merge" in results else None
        if counts is not None and merge is not None:
            rows.append(
                (
                    "round and merge < 10 metadata operations a shard",
                    (counts.metadata + merge.metadata) / size.shards,
                    10.0,
                    "",
                )
            )
        lines += [
            f"| {goal} | {size.name} | {value:.1f}{unit} | {'met' if value < limit else '**missed**'} |"
            for goal, value, limit, unit in rows
        ]
    return [*lines, ""]


def _costs(estimates: Sequence[Estimate]) -> list[str]:
    if not estimates:
        return []
    gpus = list(estimates[0].costs)
    head = [f"{n} GPU{'s' * (n > 1)}: GPU-h | days" for n in gpus]
    lines = [
        "## Cost on paper",
        "",
        "`configs/recommended.yaml` with 12 M views an epoch (`train.epoch_draws`) and the corpus that is nearest to 12 M pairs.",
        "**No GPU was measured: rates of training and labelling are assumed** from a published one (EfficientNet-B4 at 380 px on",
        "one A100 with AMP: 331 images/s, 57 times that on 64), in proportion to the multiply-adds of the network; labelling takes",
        "a third of a training step a pair. Cutting is measured (89 pairs/s a core, results/shards.md), a core for each GPU.",
        "Evaluation and the report have no rate. Bytes of training are checkpoints; corpora are counted at 200 kB a pair.",
        "Of label-1 the bytes are the synthetic round's, 12 kB a pair; of later ones the estimate of `launch/estimate/amounts.py`.",
        "",
        "| phase | pairs | " + " | ".join(head) + " | TB written |",
        "|---|---:|" + "---:|---:|" * len(gpus) + "---:|",
    ]
    totals = {n: [0.0, 0.0] for n in gpus}
    for estimate in estimates:
        cells = []
        for n, cost in estimate.costs.items():
            cells += (
                ["?", "?"]
                if cost.wall_s is None
                else [
                    f"{cost.gpu_hours or 0:,.0f}" if estimate.phase.kind != "shards" else "–",
                    f"{cost.wall_s / 86400:,.1f}",
                ]
            )
            totals[n][0] += 0 if estimate.phase.kind == "shards" else cost.gpu_hours or 0
            totals[n][1] += (cost.wall_s or 0) / 86400
        first = estimate.costs[gpus[0]]
        work = f"{first.work / 1e6:,.0f} M" if first.work else ""
        lines.append(f"| {estimate.phase.name} | {work} | {' | '.join(cells)} | {first.bytes / _TB:.3f} |")
    written = sum(estimate.costs[gpus[0]].bytes for estimate in estimates) / _TB
    summed = " | ".join(f"**{hours:,.0f}** | **{days:,.1f}**" for hours, days in totals.values())
    lines.append(f"| **all** | | {summed} | **{written:.2f}** |")
    lines += [
        "",
        "The rates of one GPU are a file, [scale-rates.json](scale-rates.json), so that a site sees its own cluster's figures:",
        "",
        "    mlseg plan configs/recommended.yaml train.epoch_draws=12000000 --rates benchmarks/results/scale-rates.json",
        "",
        "They stay assumed until `mlseg rehearse` has measured.",
    ]
    return lines


def _number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def lies_in_memory(folder: Path) -> bool:
    """True on tmpfs."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    kinds = {Path(point): kind for _, point, kind, *_ in mounts}  # of two on one point the later is seen
    return next(kinds[place] for place in (folder.resolve() / "x").parents if place in kinds) == "tmpfs"
