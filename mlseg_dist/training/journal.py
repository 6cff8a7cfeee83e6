"""What rank 0 writes about training: metrics.jsonl (the source of truth), log lines, W&B."""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mlseg_core.files import write_atomic
from mlseg_dist.config import CLASSES, LearningConfig
from mlseg_dist.data.corpus import Corpus, PairRef
from mlseg_dist.data.order import Order
from mlseg_dist.data.views import centre_views
from mlseg_dist.inference import normalise
from mlseg_dist.model import output_head, view_of
from mlseg_dist.training.tracking import Tracker, flatten


class Journal:
    """first_step: where this job start continues; later lines of an earlier start are cut off, they will come again."""

    def __init__(self, config: LearningConfig, phase: Path, first_step: int) -> None:
        self.config, self.path = config, phase / "metrics.jsonl"
        cut_back(self.path, first_step)
        self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 - stays open for the phase
        segment = len(list((phase / "wandb").glob("*run-*"))) + 1
        self._tracker = Tracker(config, phase, segment)

    def train(self, figures: dict[str, Any]) -> None:
        self._write({"kind": "train", **figures})
        self._tracker.log(flatten(figures, "train/"))
        print(
            f"step {figures['step']}  loss {figures['loss']:.4f} (wce {figures['wce']:.4f} wdl {figures['wdl']:.4f})  "
            f"lr {figures['lr']:.2e}  {figures['pairs_s']:.1f} pairs/s  wait {100 * figures['data_wait']:.0f} %  "
            f"{figures['step_ms']:.0f} ms",
            flush=True,
        )

    def order(self, order: Order, micro_batches: int) -> None:
        """What the phase draws; once, as the first line. passes: how often each class is gone through in the phase."""
        if self._file.tell():
            return
        figures = {"pairs": order.pools.sizes, "passes": order.passes(micro_batches)}
        by_class = {name: dict(zip(CLASSES, values, strict=True)) for name, values in figures.items()}
        self._write({"kind": "order", "step": 0, "lanes": order.lanes, **by_class})
        shown = "  ".join(f"{c} {by_class['pairs'][c]} × {by_class['passes'][c]:.2f}" for c in CLASSES)
        print(f"pairs × passes in this phase: {shown}  ({order.lanes} lanes)", flush=True)

    def excluded(self, step: int, pairs: list[dict[str, Any]]) -> None:
        """Pairs that could not be read in a step, from which they are drawn no more."""
        for record in pairs:
            self._write({"kind": "excluded", "step": step, **record})

    def validation(
        self, step: int, scores: dict[str, Any], model: nn.Module, corpus: Corpus, refs: Sequence[PairRef]
    ) -> None:
        self._write({"kind": "val", "step": step, **scores})
        self._tracker.log(flatten({"step": step, **scores}, "val/"))
        self._tracker.pictures(step, self._examples(model, corpus, refs))
        print(f"validation at step {step}: mIoU {scores['miou']:.4f}  {scores['iou']}", flush=True)

    @torch.no_grad()
    def _examples(self, model: nn.Module, corpus: Corpus, refs: Sequence[PairRef]) -> list[dict[str, np.ndarray]]:
        most = self.config.tracking.media if self.config.tracking.enabled else 0
        chosen = [refs[i] for i in np.linspace(0, len(refs) - 1, most).round().astype(int)] if refs and most else []
        device = next(model.parameters()).device
        examples = []
        model.eval()
        for ref in chosen:
            views = centre_views(corpus, ref, self.config.train.patch_px)
            logits = model(*(normalise(torch.from_numpy(x[None].copy()).to(device)) for x in (views.high, views.low)))
            head = output_head(logits)
            image, truth = getattr(views, view_of(head)), getattr(views, f"{view_of(head)}_label")
            examples.append({"high": image, "truth": truth, "prediction": logits[head][0].argmax(0).cpu().numpy()})
        model.train()
        return examples

    def _write(self, record: dict[str, Any]) -> None:
        record = {**record, "time": round(time.time(), 3)}
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def close(self) -> None:
        os.fsync(self._file.fileno())
        self._file.close()
        self._tracker.close()


def cut_back(path: Path, step: int) -> None:
    """Drop the lines of steps after `step`, and a last line that was cut short."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError):
            continue
    write_atomic(path, "".join(f"{line}\n" for line in kept))
