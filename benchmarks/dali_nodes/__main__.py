"""How large DALI's graph of each policy of Table 8 is, now and at an earlier commit; and how fast its CPU operators run it.

    python -m benchmarks.dali_nodes [--before COMMIT] [--batch 16] [--patch 512] [--seconds 5] [--out FILE.md]

Each policy of each of the two is a process of its own (row.py); they take turns, twice. Out: benchmarks/results/dali-nodes.md.
"""

import argparse
import io
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

from benchmarks.common.processes import ONE_THREAD, ROOT, answer

POLICIES = ("base", "master-1", "master-2", "master-3", "master-4", "master-5")
_BEFORE = "9ea4422"
"""The last commit before colour became tables and matrices."""
_ROUNDS = 2
_STORED = 1.5
"""Side of the stored field over the patch's, as in configs/paper.yaml."""
Rows = dict[tuple[str, str], list[dict[str, Any]]]
"""(policy, "before" or "now") -> what each round measured."""


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    sizes = (options.batch, options.patch, round(_STORED * options.patch), options.seconds)
    rows: Rows = {}
    with tempfile.TemporaryDirectory(prefix="mlseg-nodes-") as name:
        roots = {"now": ROOT}
        if options.before != "none":
            roots = {"before": _checkout(options.before, Path(name)), **roots}
        for number in range(_ROUNDS):
            for policy in POLICIES:
                for when, root in sorted(roots.items(), reverse=bool(number % 2)):
                    row = _row(root, policy, sizes, weigh=number == 0)
                    rows.setdefault((policy, when), []).append(row)
                    print(f"{policy}  {when}: {sum(row['cpu'].values())} nodes", file=sys.stderr, flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(page(rows, options, arguments))
    print(options.out.read_text())
    return 0


def _checkout(commit: str, folder: Path) -> Path:
    """The repository's files of a commit, without touching its working tree."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def _row(root: Path, policy: str, sizes: tuple[int, int, int, float], weigh: bool) -> dict[str, Any]:
    """Our row.py with the packages under `root`. Raises RowFailed."""
    command = [sys.executable, "-P", str(Path(__file__).with_name("row.py")), policy]
    command += [*map(str, sizes), str(int(weigh))]
    return answer(command, ONE_THREAD | {"PYTHONPATH": str(root)}, policy, root)


def page(rows: Rows, options: argparse.Namespace, arguments: list[str]) -> str:
    dali = next(d for d in distributions() if d.metadata["Name"].startswith("nvidia-dali"))
    lines = [
        "# DALI's graph of each policy of Table 8",
        "",
        f"`{shlex.join(['python', '-m', 'benchmarks.dali_nodes', *arguments])}` on {platform.machine()},"
        f" {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, {dali.metadata['Name']} {dali.version},"
        f" torch {version('torch')}. Before: commit {options.before}. Micro-batches of {options.batch} pairs of"
        f" {options.patch} px. No GPU was at hand: rates are those of DALI's CPU operators.",
        "",
        _table("Nodes of the graph for a GPU (without a GPU)", rows, _nodes),
        _table("Arithmetic nodes", rows, lambda row: str(row["gpu"].get("ArithmeticGenericOp", 0))),
        _table("Float that operators write a micro-batch, MB (largest output)", rows, _floats),
        _table("Fed from the host a micro-batch: arrays (of sources), MB", rows, lambda row: _fed(row["host"])),
        _table(
            "Windows of noise on the device: copies to DALI (of sources), MB", rows, lambda row: _fed(row["device"])
        ),
        _table("Pairs a CPU second on DALI's CPU operators", rows, lambda row: f"{row['per_cpu_s']:.1f}"),
        _table("Pairs a second", rows, lambda row: f"{row['rate']:.1f}"),
        "## Nodes by kind, now, for a GPU",
        "",
        *_kinds(rows),
    ]
    return "\n".join(lines) + "\n"


def _table(title: str, rows: Rows, cell: Any) -> str:
    """A line for before, one for now; a column a policy. Rates are medians of the rounds."""
    lines = [f"## {title}", "", "| | " + " | ".join(POLICIES) + " |", "|---|" + "---:|" * len(POLICIES)]
    for when in ("before", "now"):
        if (POLICIES[0], when) in rows:
            cells = [cell(_median(rows[policy, when])) for policy in POLICIES]
            lines.append(f"| {when} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _median(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    return rounds[0] | {key: statistics.median(row[key] for row in rounds) for key in ("rate", "per_cpu_s")}


def _nodes(row: dict[str, Any]) -> str:
    return f"{sum(row['gpu'].values())} ({sum(row['cpu'].values())})"


def _floats(row: dict[str, Any]) -> str:
    return f"{row['floats']['mb']:,.0f} ({row['floats']['largest']:.0f})"


def _fed(fed: dict[str, Any]) -> str:
    return f"{fed['arrays']} ({fed['sources']}), {fed['mb']:.1f}"


def _kinds(rows: Rows) -> list[str]:
    counts = {policy: rows[policy, "now"][0]["gpu"] for policy in POLICIES}
    names = sorted({name for of in counts.values() for name in of}, key=lambda name: -counts["master-4"].get(name, 0))
    lines = ["| operator | " + " | ".join(POLICIES) + " |", "|---|" + "---:|" * len(POLICIES)]
    return lines + [f"| {name} | " + " | ".join(str(counts[p].get(name, 0)) for p in POLICIES) + " |" for name in names]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.dali_nodes", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--before", default=_BEFORE, metavar="COMMIT", help=f"what to compare with, or none (default: {_BEFORE})"
    )
    parser.add_argument("--batch", type=int, default=16, help="pairs a micro-batch (default: 16)")
    parser.add_argument("--patch", type=int, default=512, help="side of the patches, px (default: 512)")
    parser.add_argument("--seconds", type=float, default=5.0, help="that a rate is measured for (default: 5)")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks/results/dali-nodes.md", metavar="FILE.md", help="where it goes"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
