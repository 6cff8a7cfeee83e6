"""W&B, best effort: one group a campaign, one run a phase segment; its failure or slowness never touches training.

A thread of its own talks to wandb; metrics.jsonl, not W&B, is the source of truth.
"""

import hashlib
import os
import queue
import threading
from pathlib import Path
from typing import Any

import numpy as np

from mlseg_dist.config import CLASSES, LearningConfig

_CLASS_LABELS = dict(enumerate(CLASSES))


class Tracker:
    """log() and pictures() return at once. close() waits at most `patience_s` seconds."""

    def __init__(self, config: LearningConfig, phase: Path, segment: int, patience_s: float = 20.0) -> None:
        self._queue: queue.Queue[tuple[str, Any] | None] = queue.Queue(maxsize=10_000)
        self._patience_s = patience_s
        self._thread: threading.Thread | None = None
        if config.tracking.enabled:
            self._thread = threading.Thread(target=self._work, args=(config, phase, segment), daemon=True, name="wandb")
            self._thread.start()

    def log(self, metrics: dict[str, Any]) -> None:
        self._put(("metrics", metrics))

    def pictures(self, step: int, images: list[dict[str, np.ndarray]]) -> None:
        """images: uint8 `high` (H, W, 3), `truth` and `prediction` (H, W) classes."""
        self._put(("pictures", (step, images)))

    def close(self) -> None:
        if self._thread is not None:
            self._put(None)
            self._thread.join(self._patience_s)

    def _put(self, item: tuple[str, Any] | None) -> None:
        if self._thread is not None and self._thread.is_alive():
            try:
                self._queue.put_nowait(item)
            except queue.Full:
                pass  # metrics.jsonl has it all

    def _work(self, config: LearningConfig, phase: Path, segment: int) -> None:
        try:
            import wandb

            (phase / "wandb").mkdir(parents=True, exist_ok=True)
            online = config.tracking.mode == "online" or (
                config.tracking.mode == "auto" and bool(os.environ.get("WANDB_API_KEY"))
            )
            run = wandb.init(
                project=config.tracking.project,
                group=config.name,
                job_type=phase.name.partition("-")[2],
                name=f"{config.name}/{phase.name}/{segment}",
                id=_run_id(config.name, phase.name, segment),
                dir=str(phase),
                mode="online" if online else "offline",
                config=config.model_dump(mode="json"),
                settings=wandb.Settings(init_timeout=60, console="off", silent=True),
            )
            run.define_metric("step")
            run.define_metric("*", step_metric="step")
            while (item := self._queue.get()) is not None:
                kind, value = item
                run.log(value if kind == "metrics" else _media(wandb, *value))
            run.finish()
        except Exception as error:  # tracking is never a reason to stop
            print(f"W&B is off for this phase: {type(error).__name__}: {error}", flush=True)


def _run_id(campaign: str, phase: str, segment: int) -> str:

    return hashlib.sha256(f"{campaign}\x1f{phase}\x1f{segment}".encode()).hexdigest()[:16]


def _media(wandb: Any, step: int, images: list[dict[str, np.ndarray]]) -> dict[str, Any]:
    def masks(image: dict[str, np.ndarray]) -> dict[str, Any]:
        return {name: {"mask_data": image[name], "class_labels": _CLASS_LABELS} for name in ("prediction", "truth")}

    return {"step": step, "examples": [wandb.Image(image["high"], masks=masks(image)) for image in images]}


def flatten(record: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"iou": {"tumour": 1}} -> {"val/iou/tumour": 1} for prefix `val/`."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            flat[name if name in ("step", "epoch") else f"{prefix}{name}"] = value
    return flat
