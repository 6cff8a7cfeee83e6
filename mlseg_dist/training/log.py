"""What rank 0 writes about training: metrics.jsonl (the source of truth), log lines, example pictures; W&B reads these.


Lines of metrics.jsonl are appended, cut back when training goes on from an earlier step, and kept in memory while the disk is full.
"""

import json
import logging
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
from mlseg_dist.data.corpus import BadPair, Corpus, PairRef
from mlseg_dist.data.order import Order
from mlseg_dist.data.views import centre_views
from mlseg_dist.events import Events, LogEvent
from mlseg_dist.inference import normalise
from mlseg_dist.loss import centre
from mlseg_dist.model import output_head, view_of
from mlseg_dist.tracking import Tracker
from mlseg_dist.tracking.media import Example, drop_later, write_examples

_log = logging.getLogger(__name__)


class TrainingLog:
    """first_step: where this job start continues; later lines of an earlier start are cut off, they will come again.

    total_steps: of the phase, for the time that is left. Neither a full disk nor W&B reaches the caller.
    """

    def __init__(self, config: LearningConfig, phase: Path, first_step: int, total_steps: int | None = None) -> None:
        self.config, self.phase, self.total_steps = config, phase, total_steps
        self._log_event = Events(phase).log
        self._lines = MetricsFile(phase / "metrics.jsonl", self._log_event)
        self._lines.cut_back(first_step)
        drop_later(phase, first_step)
        self._clock: tuple[float, int] | None = None
        self._tracker = Tracker(config, phase)

    def train(self, figures: dict[str, Any]) -> None:
        """figures: those of Window.close(); `mfu` and others may be there too."""
        left = self._left_s(figures)
        self._write({"kind": "train", **figures, **({} if left is None else {"eta_s": round(left, 1)})})
        _log.info(console_line(figures, self.total_steps, left))

    def order(self, order: Order, micro_batches: int) -> None:
        """What the phase draws; once, as the first line. passes: how often each class is gone through in the phase."""
        if not self._lines.is_empty:
            return
        figures = {"pairs": order.pools.sizes, "passes": order.passes(micro_batches)}
        by_class = {name: dict(zip(CLASSES, values, strict=True)) for name, values in figures.items()}
        self._write({"kind": "order", "step": 0, "lanes": order.lanes, **by_class})
        shown = "  ".join(f"{c} {by_class['pairs'][c]} × {by_class['passes'][c]:.2f}" for c in CLASSES)
        _log.info("pairs × passes in this phase: %s  (%d lanes)", shown, order.lanes)

    def excluded(self, step: int, pairs: list[dict[str, Any]]) -> None:
        """Pairs that could not be read in a step, from which they are drawn no more."""
        for record in pairs:
            self._write({"kind": "excluded", "step": step, **record})

    def validation(
        self, step: int, scores: dict[str, Any], model: nn.Module, corpus: Corpus, refs: Sequence[PairRef]
    ) -> None:
        """scores: figures of validate(). The pictures come first, so that whoever reads the line finds them."""
        examples = self._examples(model, corpus, refs)
        if examples:
            try:
                write_examples(self.phase, step, examples)
            except OSError as error:
                self._log_event("media-failed", f"no example pictures of step {step}: {error}", step=step)
        self._write({"kind": "val", "step": step, **scores})
        _log.info("validation at step %d: mIoU %.4f  %s", step, scores["miou"], _by_class(scores["iou"]))
        self._clock = None  # the time of a validation is not that of a step

    def rewind(self, step: int) -> None:
        """Training went back to the checkpoint of `step`: what came after is cut off."""
        self._lines.cut_back(step)
        drop_later(self.phase, step)
        self._clock = None

    def close(self) -> None:
        """Waits at most 20 s for W&B."""
        self._lines.close()
        self._tracker.close()

    @torch.no_grad()
    def _examples(self, model: nn.Module, corpus: Corpus, refs: Sequence[PairRef]) -> list[Example]:
        most = self.config.tracking.media if self.config.tracking.enabled else 0
        chosen = [refs[i] for i in np.linspace(0, len(refs) - 1, most).round().astype(int)] if refs and most else []
        device = next(model.parameters()).device
        examples = []
        was_training = model.training
        model.eval()
        for ref in chosen:
            try:
                views = centre_views(corpus, ref, self.config.train.patch_px)
            except BadPair as error:  # it could be read a moment ago; a picture is no reason to stop
                self._log_event("media-failed", f"no example picture of {ref.key}: {error}")
                continue
            logits = model(*(normalise(torch.from_numpy(x[None].copy()).to(device)) for x in (views.high, views.low)))
            head = output_head(logits)
            image, truth = getattr(views, view_of(head)), getattr(views, f"{view_of(head)}_label")
            # A network without padding answers for the centre only.
            truth = centre(torch.from_numpy(truth.copy())[None], logits[head])[0].numpy()
            image = centre(torch.from_numpy(image.copy()).permute(2, 0, 1), logits[head]).permute(1, 2, 0).numpy()
            prediction = logits[head][0].argmax(0).cpu().numpy().astype(np.uint8)
            examples.append(Example(ref.key, np.ascontiguousarray(image), np.ascontiguousarray(truth), prediction))
        model.train(was_training)
        return examples

    def _write(self, record: dict[str, Any]) -> None:
        self._lines.write({**record, "time": round(time.time(), 3)})

    def _left_s(self, figures: dict[str, Any]) -> float | None:
        """By the pace since the first line after a start or validation; at first, by that of the line's own steps."""
        if self.total_steps is None:
            return None
        now, step = time.monotonic(), figures["step"]
        if self._clock is None:
            self._clock = (now, step)
        since, first = self._clock
        pace = (now - since) / (step - first) if step > first else figures["step_ms"] / 1000
        return pace * (self.total_steps - step)


def console_line(figures: dict[str, Any], total_steps: int | None = None, left_s: float | None = None) -> str:
    """One aligned line: step, loss and its parts, learning rate, pairs/s, part of time waiting for data, ms a step, MFU, ETA."""
    total = str(total_steps) if total_steps else ""
    step = f"step {figures['step']:>{max(len(total), 6)}}{f'/{total}' if total else ''}"
    parts = [
        step,
        f"loss {_shown(figures['loss'], 8)} (wce {_shown(figures['wce'], 7)}  wdl {_shown(figures['wdl'], 6)})",
        f"lr {figures['lr']:.2e}",
        f"{figures['pairs_s']:8.1f} pairs/s",
        f"wait {100 * figures['data_wait']:3.0f} %",
        f"{figures['step_ms']:7.0f} ms",
    ]
    if figures.get("mfu") is not None:
        parts.append(f"mfu {100 * figures['mfu']:4.1f} %")
    if left_s is not None:
        parts.append(f"eta {_span(left_s)}")
    return "  ".join(parts)


def _span(seconds: float) -> str:
    minutes, second = divmod(round(max(0.0, seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}"


def _by_class(values: dict[str, float | None]) -> str:
    return "  ".join(f"{name} {_shown(value, 0)}" for name, value in values.items())


def _shown(value: float | None, width: int) -> str:
    """None: not finite (a loss), or no such class."""
    return f"{'–' if value is None else format(value, '.4f'):>{width}}"


class MetricsFile:
    """metrics.jsonl, appended to. What cannot be written (a full disk) stays in memory and is written later; told once."""

    def __init__(self, path: Path, log_event: LogEvent) -> None:
        self.path, self._log_event = path, log_event
        self._waiting: list[str] = []
        self._told = False

    @property
    def is_empty(self) -> bool:
        return not self._waiting and (not self.path.exists() or self.path.stat().st_size == 0)

    def write(self, record: dict[str, Any]) -> None:
        self._waiting.append(json.dumps(record) + "\n")
        self._flush(sync=False)

    def cut_back(self, step: int) -> None:
        self._waiting = [line for line in self._waiting if json.loads(line)["step"] <= step]
        cut_back(self.path, step)

    def close(self) -> None:
        self._flush(sync=True)

    def _flush(self, sync: bool) -> None:
        data = "".join(self._waiting).encode()
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                size = os.fstat(handle).st_size
                written = 0
                try:
                    while written < len(data):
                        written += os.write(handle, data[written:])
                except OSError:
                    os.ftruncate(handle, size)  # no torn line
                    raise
                self._waiting = []
                if sync:
                    os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            if not self._told:
                self._told = True
                self._log_event(
                    "metrics-failed", f"{self.path.name}: {error}; lines are kept in memory until it can be"
                )
            return
        if self._told:
            self._told = False
            self._log_event("metrics-written", f"{self.path.name} is written again, nothing is lost", "info")


def cut_back(path: Path, step: int) -> None:
    """Drop the lines of steps after `step`, and a last line that was cut short. Needs no room on a disk that is full."""
    if not path.exists():
        return
    kept: list[bytes] = []
    lines = path.read_bytes().splitlines(keepends=True)
    for line in lines:
        try:
            if line.endswith(b"\n") and json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue
    if kept == lines[: len(kept)]:
        os.truncate(path, sum(map(len, kept)))
    else:
        write_atomic(path, b"".join(kept))
