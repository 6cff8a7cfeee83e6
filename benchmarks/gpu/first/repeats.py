"""Deterministic mode: the same training steps twice, in two processes, must give the same bits."""

import hashlib
import json
import subprocess
import sys

import torch

from benchmarks.common.processes import ROOT
from benchmarks.engine.loops import LR, micro_batch
from benchmarks.gpu.first.engines import alone_in_the_world
from benchmarks.gpu.first.parts import Rows, Settings
from benchmarks.model.networks import PUBLISHED, Scale
from benchmarks.model.networks import ROWS as NETWORKS
from mlseg_dist.config import LossConfig, TrainConfig
from mlseg_dist.inference import normalise
from mlseg_dist.loss import SegmentationLoss
from mlseg_dist.training.engine import join_world, make_engine

_STEPS = 4


def same_bits(settings: Settings, rows: Rows) -> None:
    """Weights after some steps in two processes each: both engines, with and without train.deterministic. All run at once."""
    kinds = [
        (engine, exactly) for exactly in (True, False)[: 1 if settings.tiny else 2] for engine in ("deepspeed", "ddp")
    ]
    started = {kind: [_start(settings, *kind) for _ in range(2)] for kind in kinds}
    for (engine, deterministic), processes in started.items():
        said = [_said(process) for process in processes]
        hashes = {each.get("sha256") for each in said}
        error = next((each["error"] for each in said if "error" in each), "")
        rows.add(engine=engine, deterministic=deterministic, same_bits=None if error else len(hashes) == 1, error=error)


def _start(settings: Settings, engine: str, deterministic: bool) -> "subprocess.Popen[str]":
    job = json.dumps(
        {"engine": engine, "deterministic": deterministic, "device": settings.device, "tiny": settings.tiny}
    )
    command = [sys.executable, "-m", "benchmarks.gpu.first.repeats", job]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _said(process: "subprocess.Popen[str]") -> dict[str, str]:
    out, errors = process.communicate()
    print(errors, flush=True)
    if process.returncode:
        return {"error": (errors.strip().splitlines() or [f"exit status {process.returncode}"])[-1][:300]}
    said: dict[str, str] = json.loads(out.splitlines()[-1])
    return said


def main(job: dict[str, object]) -> None:
    """Train some steps on noise; print the weights' sha256."""
    alone_in_the_world()
    cuda = job["device"] == "cuda"
    side, quads = (64, 1) if job["tiny"] else (256, 2)
    scale = Scale("custom", custom=0.25) if job["tiny"] else PUBLISHED
    train = TrainConfig(
        patch_px=side,
        quads_per_micro_batch=quads,
        engine=job["engine"],  # type: ignore[arg-type]
        deterministic=bool(job["deterministic"]),
        precision="bf16" if cuda else "fp32",
        threads=1,
    )
    world = join_world(train)
    torch.manual_seed(0)
    engine = make_engine(NETWORKS["ours"].build(scale).to(world.device).train(), train, world)
    loss_of = SegmentationLoss(LossConfig(), "dynamic").to(world.device)
    for number in range(_STEPS):
        views, labels = micro_batch(train, number, world.device)
        torch.manual_seed(number)
        with torch.autocast(world.device.type, torch.bfloat16, enabled=cuda):
            logits = engine.forward(normalise(views["high"]), normalise(views["low"]))
        engine.backward(loss_of(logits, labels)[0])
        engine.step(LR)
    digest = hashlib.sha256()
    for value in engine.state()["model"].values():
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    print(json.dumps({"sha256": digest.hexdigest()}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
