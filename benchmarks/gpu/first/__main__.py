"""One of five stages of measurements on a GPU, within its time: no pip, no make, no network.

    python -m benchmarks.gpu.first --stage N --out DIR [--device cpu --tiny]

Out: DIR/stage-N.json, DIR/stage-N.md, and DIR/stage-N/ with what each part printed. Exit status 0 when every part of the stage
ended well or says why it cannot run here, 1 when one failed or ran out of time, 2 without a GPU, 130 when interrupted.
"""

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.gpu.first.machine import where
from benchmarks.gpu.first.page import markdown
from benchmarks.gpu.first.parts import Result, Settings, run_parts
from benchmarks.gpu.first.stages import STAGES
from mlseg_core.files import write_atomic, write_json


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    stage = STAGES[options.stage - 1]
    names = [part.name for part in stage.parts]
    if unknown := [name for name in options.parts if name not in names]:
        return _refuse(f"stage {stage.number} has no part {unknown[0]!r}: there are {', '.join(names)}")
    if options.device == "cuda" and not _has_device():
        return _refuse(f"no CUDA device here (torch {torch.__version__}): nothing was run")
    if options.tiny:  # beside other work, several threads would mostly wait for each other
        os.environ["OMP_NUM_THREADS"] = "1"
        torch.set_num_threads(1)
    out = options.out.resolve()
    try:
        out.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix="mlseg-first-", dir=out if options.keep else None))
    except OSError as error:
        return _refuse(f"--out {options.out}: {error.strerror}")
    signal.signal(signal.SIGTERM, _on_term)
    settings = Settings(options.device, options.tiny, out, scratch)
    place = where(options.device)
    command = shlex.join(["python", "-m", "benchmarks.gpu.first", *arguments])

    def keep(results: Sequence[Result]) -> None:
        write_json(out / f"stage-{stage.number}.json", {
            "stage": stage.number, "title": stage.title, "decides": stage.decides, "device": options.device,
            "tiny": options.tiny, "where": place, "parts": [result.json() for result in results],
        })  # fmt: skip
        title = f"{stage.title} (stage {stage.number})"
        write_atomic(out / f"stage-{stage.number}.md", markdown(title, command, place, results))

    print(f"stage {stage.number}: {stage.title}, at most {stage.limit_s:g} s", flush=True)
    chosen = [part for part in stage.parts if not options.parts or part.name in options.parts]
    limit_s = stage.limit_s * (10 if options.tiny else 1)
    try:
        results = run_parts(chosen, out / f"stage-{stage.number}", settings, limit_s, keep)
    except KeyboardInterrupt:
        print("interrupted; what was measured until then is kept", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"the results cannot be written to {out}: {error.strerror}", file=sys.stderr)
        return 1
    finally:
        if not options.keep:
            shutil.rmtree(scratch, ignore_errors=True)
    return 0 if all(result.state in ("done", "skipped") for result in results) else 1


def _refuse(why: str) -> int:
    print(why, file=sys.stderr)
    return 2


def _on_term(*_: object) -> None:
    raise KeyboardInterrupt


def _has_device() -> bool:
    """Asked in another process: torch may start CUDA to answer, and a process with CUDA cannot be forked."""
    ask = "import torch, sys; sys.exit(0 if torch.cuda.is_available() else 1)"
    return subprocess.run([sys.executable, "-c", ask], stderr=subprocess.DEVNULL).returncode == 0


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
    parser.add_argument("--parts", nargs="+", default=[], metavar="NAME", help="only these parts of the stage")
    parser.add_argument("--keep", action="store_true", help="keep intermediate files, in a folder in DIR")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
