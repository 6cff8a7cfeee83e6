"""Everything that waits for a GPU: its tests, the five stages of benchmarks.gpu.first, the benchmarks. Status 2 without one.

    make gpu            python -m benchmarks.gpu [--out DIR] [--minutes 8] [--seconds 5]

Out: {tests,stage-1,…,stage-5,input-cuda,model-cuda,label-cuda,style-cuda,engine-cuda}.md in benchmarks/results/gpu. The tests cover
DALI, labelling and checkpoints; the stages training in bf16, torch.compile, deterministic mode, the moving average and resuming.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.common.processes import ROOT
from benchmarks.gpu.first.stages import STAGES

FOLDER = ROOT / "benchmarks/results/gpu"


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    if not torch.cuda.is_available():
        print(f"no CUDA device here (torch {torch.__version__}): nothing was run", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    device = torch.cuda.get_device_name(0)
    print(f"on {device}", flush=True)
    model = ["benchmarks.model", "--device", "cuda", "--minutes", f"{options.minutes:g}"]
    feed = ["benchmarks.gpu.input", "--device", "cuda", "--seconds", f"{options.seconds:g}"]
    label = ["benchmarks.label", "--pairs", "768", "--rounds", "3"]  # many batches a shard, as in a corpus
    failed = [
        run_tests(["-m", "gpu", "tests"], options.out / "tests.md", device),
        *(run(["benchmarks.gpu.first", "--stage", str(stage.number), "--out", str(options.out)]) for stage in STAGES),
        run([*feed, "--out", str(options.out / "input-cuda.md")]),
        run([*model, "--out", str(options.out / "model-cuda.md")]),
        run([*label, "--out", str(options.out / "label-cuda.md")]),
        run(["benchmarks.style", "--pairs", "256", "--steps", "50", "--out", str(options.out / "style-cuda.md")]),
        run(["benchmarks.engine", "--minutes", "3", "--out", str(options.out / "engine-cuda.md")]),
    ]
    return 1 if any(failed) else 0


def run(module: Sequence[str]) -> int:
    """A module of ours in a process of its own; its exit status."""
    print("python -m", *module, flush=True)
    return subprocess.run([sys.executable, "-m", *module], cwd=ROOT).returncode


def run_tests(selection: Sequence[str], out: Path, device: str) -> int:
    """pytest, with its last words as a page. Returns its exit status; tests that were all skipped count as failed."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-rfEs", "--tb=short", *selection]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout, flush=True)
    status = done.returncode or (0 if " passed" in done.stdout else 1)
    result = "passed" if status == 0 else "FAILED"
    title = f"`pytest {' '.join(selection)}` on {device}, torch {torch.__version__}: **{result}**"
    words = done.stdout.strip().splitlines()[-60:]
    page = ["# Tests on a GPU", "", f"{title}, {time.monotonic() - begun:.0f} s.", "", "```", *words, "```"]
    out.write_text("\n".join(page) + "\n")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="DIR", help="where the pages go")
    parser.add_argument("--minutes", type=float, default=8.0, help="of benchmarks.model (default: 8)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each figure of the DALI benchmark (default: 5)")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
