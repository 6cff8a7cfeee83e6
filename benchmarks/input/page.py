"""Points of a race -> Markdown."""

import shlex
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import distributions, version

from benchmarks.common.processes import machine
from benchmarks.input.ops import LIGHT
from benchmarks.input.row import BARE, Job, Point
from mlseg_dist.config import PolicyConfig

GOAL = 2.0
"""Ours over the DataLoader, pairs/s on the same cores, heaviest policy (the one with most ops)."""
TITLES = {
    "ours": "**ours**",
    "loader": "webdataset + albumentations, DataLoader",
    "loader-light": "the same, cheaper ops",
    "dali": "DALI, CPU operators",
    "decode": "ours, reading and decoding only",
    "read": "ours, reading only",
}
_COLUMNS = ("row", "pairs/s", "rounds", "pairs/CPU s", "processes", "pairs/s a process", "peak MiB", "ours / it")
_PACKAGES = ("torch", "opencv-python-headless", "albumentations", "webdataset")


@dataclass
class Race:
    """points: (row, policy) -> one a round; skipped: row -> why it is left out."""

    points: dict[tuple[str, str], list[Point]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    rounds: int = 0

    def median(self, key: tuple[str, str], figure: Callable[[Point], float]) -> float:
        return statistics.median(figure(point) for point in self.points[key])

    def ratio(self, row: str, policy: str, figure: Callable[[Point], float]) -> float:
        """Ours over the row."""
        return self.median(("ours", policy), figure) / self.median((row, policy), figure)


def rate(point: Point) -> float:
    return point.pairs / point.seconds


def per_core(point: Point) -> float:
    """Pairs a CPU second."""
    return point.pairs / point.cpu_s


def markdown(
    race: Race, policies: dict[str, PolicyConfig], job: Job, command: list[str], lacking: tuple[str, ...]
) -> str:
    """The whole page. policies: in the table's order; job: any of the race; lacking: ops that DALI's row leaves out."""
    lines = ["# From shards to micro-batches on a CPU", "", *_about(race, job, command), ""]
    lines += [*_verdict(race, policies), ""]
    bare = [row for row in BARE if (row, "") in race.points]
    if bare:
        lines += ["## No augmentation", "", *_table(race, bare, ""), ""]
    for policy, ops in policies.items():
        rows = [row for row in TITLES if (row, policy) in race.points]
        if not rows:
            continue
        lines += [f"## {policy}", "", f"{len(ops)} ops. {_left_out(ops, lacking)}", "", *_table(race, rows, policy), ""]
    lines += [f"Left out: {TITLES[row]} ({why})." for row, why in race.skipped.items()]
    return "\n".join(lines).rstrip() + "\n"


def heaviest(race: Race, policies: dict[str, PolicyConfig]) -> str:
    """The policy with most ops; of several, the one that suits ours least."""
    most = max(len(ops) for ops in policies.values())
    return min(
        (name for name, ops in policies.items() if len(ops) == most), key=lambda p: race.ratio("loader", p, rate)
    )


def _about(race: Race, job: Job, command: list[str]) -> list[str]:
    manifest = job.manifest()
    dali = [d.metadata["Name"] for d in distributions() if d.metadata["Name"].startswith("nvidia-dali")]
    packages = [f"{name} {version(name)}" for name in (*_PACKAGES, *dali[:1])]
    command_line = shlex.join(["python", "-m", "benchmarks.input", *command])
    size = manifest.totals["bytes"] / manifest.totals["samples"] / 1e6
    corpus = f"{manifest.totals['samples']} pairs of {manifest.views['store_px']:.0f} px ({size:.2f} MB a pair)"
    return [
        f"`{command_line}` on {machine()}; {', '.join(packages)}.",
        "",
        f"{corpus} in {len(manifest.shards)} shards, in the page cache",
        f"-> micro-batches of {job.batch} pairs of {job.patch_px} px, both views and both labels, uint8.",
        "",
        f"{race.rounds} rounds of {job.seconds:g} s a row, rows in turn, forwards and backwards; medians, ratios of medians;",
        f"*rounds* is the slowest and the fastest. Every row has {job.threads} threads or worker processes.",
        "*Pairs/CPU s* (per core) counts user and system time of the process and its children, which another load on the machine",
        "changes less than pairs/s. *Processes* that make pairs; peak memory is theirs and their parent's together, what they",
        "share counted once.",
    ]


def _verdict(race: Race, policies: dict[str, PolicyConfig]) -> list[str]:
    if any((row, policy) not in race.points for row in ("ours", "loader") for policy in policies):
        return ["Goal not judged: rows are missing."]
    policy = heaviest(race, policies)
    ratio, by_core = (race.ratio("loader", policy, figure) for figure in (rate, per_core))
    said = "**reached**" if ratio >= GOAL else f"**missed** by {1 - ratio / GOAL:.0%}"
    lines = [
        f"Goal: {GOAL:g} times the DataLoader's pairs/s on the same cores with the heaviest policy ({policy}, "
        f"{len(policies[policy])} ops): {said}, {ratio:.2f} times; {by_core:.2f} times by CPU time."
    ]
    if ("loader-light", policy) in race.points:
        light, by_core = (race.ratio("loader-light", policy, figure) for figure in (rate, per_core))
        swaps = "; ".join(f"{op}: {what}" for op, what in LIGHT.items())
        lines += [
            "",
            f"Part of that is albumentations being slow at a few ops. With cheaper, unlike ones in their place ({swaps}) ours is "
            f"{light:.2f} times as fast, {by_core:.2f} times by CPU time.",
        ]
    return lines


def _left_out(ops: PolicyConfig, lacking: tuple[str, ...]) -> str:
    found = [op.op for op in ops if op.op in lacking]
    return f"DALI's row does without {', '.join(found)}." if found else "All rows do all ops."


def _table(race: Race, rows: list[str], policy: str) -> list[str]:
    lines = [f"| {' | '.join(_COLUMNS)} |", f"|---|{'---:|' * (len(_COLUMNS) - 1)}"]
    for row in rows:
        key = (row, policy)
        rates, processes = [rate(point) for point in race.points[key]], race.points[key][0].processes
        spread = f"{min(rates):.1f}–{max(rates):.1f}"
        ratio = f"{race.ratio(row, policy, rate):.2f}" if ("ours", policy) in race.points else ""
        lines.append(
            f"| {TITLES[row]} | {race.median(key, rate):.1f} | {spread} | {race.median(key, per_core):.1f} | {processes} "
            f"| {race.median(key, rate) / processes:.1f} | {max(point.peak_mib for point in race.points[key]):.0f} | {ratio} |"
        )
    return lines
