"""A small campaign through `mlseg run`: trained on the device, stopped by SIGTERM, resumed, labelled, evaluated."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.common.processes import ROOT
from benchmarks.gpu.first.parts import Rows, Settings

_CONFIG = Path(__file__).with_name("campaign.yaml")
_TINY = (
    *("phantom.size_um=2000", "phantom.mpp=2", "phantom.train=2", "phantom.val=1", "phantom.test=0"),
    *("shards.store_px=96", "train.patch_px=64", "train.quads_per_micro_batch=1", "train.epoch_draws=96"),
    *(
        "train.checkpoint_every=8",
        "train.log_every=1",
        "train.warmup_steps=2",
        "train.validations=1",
        "train.threads=1",
    ),
    *("train.precision=fp32", "cluster.default.workers=1", "evaluate.splits=[val]", "train.workers=1"),
)
_EVERY_S = 0.2
RUN = "runs/first"


def through_mlseg(settings: Settings, rows: Rows) -> None:
    """Start, stop in the middle of the first step, start again, wait for the end; a row for each thing that was seen."""
    run = settings.scratch / RUN
    words = ["run", str(_CONFIG), f"runs={settings.scratch / 'runs'}", *(_TINY if settings.tiny else ())]
    base, label, master = (_Phase(run, name) for name in ("base", "label-1", "master-1"))
    stop_at = 10 if settings.tiny else 120
    begun = time.monotonic()

    def passed(what: str, **seen: Any) -> None:
        rows.add(after_s=time.monotonic() - begun, what=what, seen=json.dumps(seen))

    with _mlseg(words, settings, "first.log") as process:
        _until(process, lambda: base.folder is not None, "the first training step's folder")
        passed("slides and shards are there", shards=len(list((run / "data/shards").glob("*.tar"))))
        _until(process, lambda: base.step >= stop_at, f"step {stop_at}")
        passed("training has come to", **base.last())
        os.kill(process.pid, signal.SIGTERM)
        status = process.wait(60)
    stopped = base.step
    passed("SIGTERM", exit_status=status, wanted=75, step=stopped)
    if status != 75:
        raise RuntimeError(f"`mlseg run` ended with status {status} after SIGTERM, not 75")
    before = base.lines
    with _mlseg(words, settings, "again.log") as process:
        _until(process, lambda: base.step > stopped or base.done, "a step after the interruption")
        passed("resumed", after_step=stopped, lines_kept=base.lines[: len(before)] == before)
        for phase in (base, label, master):
            _until(process, lambda phase=phase: phase.done, f"the end of {phase.name}")  # type: ignore[misc]
            passed(f"{phase.name} is done", **phase.last())
        status = process.wait()
    passed("the campaign has ended", exit_status=status, report=(run / "report/index.html").exists())
    if status:
        raise RuntimeError(f"`mlseg run` ended with status {status}: see again.log")


class _Phase:
    """What the run folder says of a phase."""

    def __init__(self, run: Path, name: str) -> None:
        self.run, self.name = run, name

    @property
    def folder(self) -> Path | None:
        return next(iter(self.run.glob(f"phases/*-{self.name}")), None)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, without a last one that is still being written."""
        path = self.folder / "metrics.jsonl" if self.folder else None
        text = path.read_text() if path and path.exists() else ""
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    @property
    def step(self) -> int:
        return max((line["step"] for line in self.lines if line["kind"] == "train"), default=0)

    @property
    def done(self) -> bool:
        return self.folder is not None and (self.folder / "done.json").exists()

    def last(self) -> dict[str, Any]:
        """Some figures of the newest line of training, or of the phase."""
        train = [line for line in self.lines if line["kind"] == "train"]
        if train:
            names = ("step", "loss", "pairs_s", "step_ms", "data_wait", "gradient_norm", "skipped", "peak_gib")
            return {name: train[-1][name] for name in names if name in train[-1]}
        done = json.loads((self.folder / "done.json").read_text()) if self.done and self.folder else {}
        return {"seconds": done.get("seconds")}


@contextmanager
def _mlseg(words: list[str], settings: Settings, log: str) -> Iterator["subprocess.Popen[bytes]"]:
    """`mlseg` in a process of its own, its output in the stage's folder; killed when we leave early."""
    path = settings.out / "stage-2" / log
    environment = os.environ | ({"CUDA_VISIBLE_DEVICES": ""} if settings.device == "cpu" else {})
    with path.open("wb") as file:
        command = [sys.executable, "-m", "launch.cli", *words]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _until(process: "subprocess.Popen[bytes]", reached: Callable[[], bool], what: str) -> None:
    """Raises RuntimeError when `mlseg` ends before that."""
    while not reached():
        if process.poll() is not None:
            if reached():
                return
            raise RuntimeError(f"`mlseg run` ended with status {process.returncode} before {what}")
        time.sleep(_EVERY_S)
