"""One of five stages of measurements on a GPU, within its time: no pip, no make, no network.

    python -m benchmarks.gpu.first --stage N --out DIR [--device cpu --tiny]

Out: DIR/stage-N.json, DIR/stage-N.md, and DIR/stage-N/ with what each part printed. Exit status 0 when every part of the stage
ended well or says why it cannot run here, 1 when one failed or ran out of time, 2 without a GPU.
"""

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

# torch asks the driver's library instead of starting CUDA here: a process with CUDA cannot be forked.
os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"

import torch

from benchmarks.gpu.first.machine import where
from benchmarks.gpu.first.page import markdown
from benchmarks.gpu.first.parts import Settings, run_parts
from benchmarks.gpu.first.stages import STAGES
from mlseg_core.files import write_atomic, write_json


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print(f"no CUDA device here (torch {torch.__version__}): nothing was run", file=sys.stderr)
        return 2
    if options.tiny:  # beside other work, several threads would mostly wait for each other
        os.environ["OMP_NUM_THREADS"] = "1"
        torch.set_num_threads(1)
    stage = STAGES[options.stage - 1]
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    scratch = out / "scratch" if options.keep else Path(tempfile.mkdtemp(prefix="mlseg-first-"))
    scratch.mkdir(exist_ok=True)
    settings = Settings(options.device, options.tiny, out, scratch)
    parts = [part for part in stage.parts if not options.parts or part.name in options.parts]
    print(f"stage {stage.number}: {stage.title}, at most {stage.limit_s:g} s", flush=True)
    results = run_parts(parts, out / f"stage-{stage.number}", settings, stage.limit_s * (10 if options.tiny else 1))
    place = where(options.device)
    command = shlex.join(["python", "-m", "benchmarks.gpu.first", *arguments])
    write_json(out / f"stage-{stage.number}.json", {
        "stage": stage.number, "title": stage.title, "decides": stage.decides, "device": options.device, "tiny": options.tiny,
        "where": place, "parts": [result.json() for result in results],
    })  # fmt: skip
    write_atomic(
        out / f"stage-{stage.number}.md", markdown(f"{stage.title} (stage {stage.number})", command, place, results)
    )
    return 0 if all(result.state in ("done", "skipped") for result in results) else 1


def _parser() -> argparse.ArgumentParser:
    numbers = [stage.number for stage in STAGES]
    table = "\n".join(f"  {s.number}  {s.limit_s:3.0f} s  {s.title}: decides {s.decides}" for s in STAGES)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.first",
        description=(__doc__ or "").splitlines()[0],
        epilog=f"stages:\n{table}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--stage", type=int, choices=numbers, required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the results go")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small networks and few steps: does every part run?")
    parser.add_argument("--parts", nargs="+", metavar="NAME", help="only these parts of the stage")
    parser.add_argument("--keep", action="store_true", help="keep intermediate files in DIR/scratch")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
