"""nvJPEG against libjpeg; every DALI operator alone; every operation of Table 8 alone against the CPU executor; the parity tests.

An operation that takes the CUDA context down ends its process; the next process goes on with the operation after it.
"""

import json
import os
import subprocess
import sys
import time
from typing import Any

import numpy as np

from benchmarks.common.feed import stored_pairs
from benchmarks.common.policies import table8
from benchmarks.common.processes import ROOT
from benchmarks.gpu.first.parts import Rows, Settings
from mlseg_dist.augment import augment, draw_parameters
from mlseg_dist.augment.policy import OpConfig
from mlseg_dist.data.views import Views
from shards.sample import decode_label, decode_rgb

_MPP = {"high": 0.5, "low": 2.0}
_DRAWS = 4
_TESTS = ("tests/mlseg_dist/augment", "tests/mlseg_dist/labelling/test_dali.py")


def operations() -> dict[str, OpConfig]:
    """Name of an operation -> as Table 8 has it, always drawn."""
    found: dict[str, OpConfig] = {}
    for policy in table8().values():
        for op in policy:
            found.setdefault(op.op, op.model_copy(update={"p": 1.0}))
    return found


def nvjpeg(settings: Settings, rows: Rows) -> None:
    """Grey levels between DALI's decoder and libjpeg, and pairs/s that it decodes."""
    from nvidia.dali import Pipeline, fn
    from nvidia.dali.types import DALIImageType

    store = 96 if settings.tiny else 768
    images = [image for pair in stored_pairs(store, 2 if settings.tiny else 16) for image in (pair.high, pair.low)]
    device_id = 0 if settings.device == "cuda" else None
    pipeline = Pipeline(
        batch_size=len(images), num_threads=min(settings.cores, 8), device_id=device_id, prefetch_queue_depth=1
    )
    with pipeline:
        encoded = fn.external_source(name="jpeg", ndim=1)
        where = "mixed" if device_id is not None else "cpu"
        pipeline.set_outputs(fn.decoders.image(encoded, device=where, output_type=DALIImageType.RGB))
    pipeline.build()
    fed = [np.frombuffer(image, np.uint8) for image in images]

    def run() -> Any:
        pipeline.feed_input("jpeg", fed)
        (out,) = pipeline.run()
        return out.as_cpu() if device_id is not None else out

    out = run()
    difference = [np.abs(out.at(i).astype(int) - decode_rgb(image)) for i, image in enumerate(images)]
    rounds = 2 if settings.tiny else 20
    begun = time.perf_counter()
    for _ in range(rounds):
        run()
    seconds = (time.perf_counter() - begun) / rounds
    rows.add(**{"side, px": store, "mean difference": float(np.mean([d.mean() for d in difference])),
                "largest": int(max(d.max() for d in difference)), "pairs/s": len(images) / 2 / seconds})  # fmt: skip


def dali_alone(settings: Settings, rows: Rows) -> None:
    """See primitives.py; imported here, since DALI must not be in the process that forks."""
    from benchmarks.gpu.first import primitives

    primitives.alone(settings, rows)


def one_by_one(settings: Settings, rows: Rows) -> None:
    """Each operation: difference to the CPU executor in grey levels, share of label pixels that changed, or its error."""
    left = list(operations())
    while left:
        job = json.dumps({"device": settings.device, "tiny": settings.tiny, "operations": left})
        command = [sys.executable, "-m", "benchmarks.gpu.first.operators", job]
        other = ""
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith('{"operation"'):
                    rows.add(**json.loads(line))
                    left.pop(0)
                else:
                    print(line, end="", flush=True)
                    other = line.strip() or other
        if left:
            last = other or f"exit status {process.returncode}"
            rows.add(**_row(left.pop(0), error=f"its process ended: {last[:200]}"))


def parity_tests(settings: Settings, rows: Rows) -> None:
    """The project's own parity tests: those that need a GPU where there is one, else some on DALI's CPU operators."""
    on_cpu = ("tests/mlseg_dist/augment/test_dali.py", "-k", "flip or gamma")
    chosen = ("-m", "gpu", *_TESTS) if settings.device == "cuda" else on_cpu
    command = [sys.executable, "-m", "pytest", "-q", "-rfEs", "--tb=line", "-p", "no:cacheprovider", *chosen]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout, flush=True)
    words = [line for line in done.stdout.splitlines() if line.strip()]
    for line in words:
        if line.startswith(("FAILED", "ERROR", "SKIPPED")):
            rows.add(test=line[:300])
    rows.add(exit_status=done.returncode, said=words[-1] if words else "")


def main(job: dict[str, Any]) -> None:
    """One line of JSON an operation, in order."""
    from mlseg_dist.augment.dali.executor import DaliExecutor
    from mlseg_dist.augment.dali.inputs import Encoded

    store, patch, draws = (96, 64, 1) if job["tiny"] else (768, 512, _DRAWS)
    device_id = 0 if job["device"] == "cuda" else None
    pair = stored_pairs(store, 1)[0]
    labels = decode_label(pair.high_label), decode_label(pair.low_label)
    stored = Views(decode_rgb(pair.high), decode_rgb(pair.low), *labels, labels[0])
    every = operations()
    for name in job["operations"]:
        try:
            policy = (every[name],)
            executor = DaliExecutor(policy, patch, store, _MPP, draws, device_id, 2)
            drawn = [draw_parameters(policy, 1, "gpu", number) for number in range(draws)]
            samples = [executor.prepare(Encoded(pair.high, pair.low, *labels, parameters)) for parameters in drawn]
            (made,) = list(executor.stream([samples]))
            differences, changed = [], []
            for number, parameters in enumerate(drawn):
                wanted = augment(stored, parameters, _MPP, patch)
                for view in ("high", "low"):
                    image = getattr(made, view)[number].cpu().numpy().astype(int)
                    differences.append(np.abs(image - getattr(wanted, view)).ravel())
                    label = getattr(made, f"{view}_label")[number].cpu().numpy()
                    changed.append(float((label != getattr(wanted, f"{view}_label")).mean()))
            all_of_them = np.concatenate(differences)
            row = _row(name, float(all_of_them.mean()), float(np.percentile(all_of_them, 99)), max(changed))
        except Exception as error:  # the next operation may work
            row = _row(name, error=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        print(json.dumps(row), flush=True)
    os._exit(0)


def _row(
    name: str, mean: float | None = None, p99: float | None = None, changed: float | None = None, error: str = ""
) -> dict[str, Any]:
    return {
        "operation": name,
        "mean difference": mean,
        "99th percentile": p99,
        "label pixels changed": changed,
        "error": error,
    }


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
