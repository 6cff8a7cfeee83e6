"""A window of steps under torch.profiler: `profile/rank-0.json.gz` in the phase's folder, for chrome://tracing or Perfetto."""

import gzip
import logging
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from mlseg_core.files import temporary_beside, write_atomic
from mlseg_dist.config import ProfileConfig
from mlseg_dist.training.engine import World

_log = logging.getLogger(__name__)


class StepProfiler:
    """Call step() after every step. Rank 0 records; settings None: nothing happens."""

    def __init__(self, settings: ProfileConfig | None, phase: Path, world: World) -> None:
        self._settings = settings if world.rank == 0 else None
        self._folder, self._device = phase / "profile", world.device
        self._profile: profile | None = None
        self._done = 0

    def step(self) -> None:
        if self._settings is None:
            return
        self._done += 1
        if self._profile is None and self._done == self._settings.first:
            activities = [ProfilerActivity.CPU]
            if self._device.type == "cuda":
                activities.append(ProfilerActivity.CUDA)
            self._profile = profile(activities=activities, record_shapes=True)
            self._profile.start()
        elif self._profile is not None and self._done == self._settings.first + self._settings.steps:
            self.close()

    def close(self) -> None:
        """End the window, wherever it is, and write the trace."""
        if self._profile is None:
            return
        recorder, self._profile, self._settings = self._profile, None, None
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        recorder.stop()
        self._folder.mkdir(parents=True, exist_ok=True)
        plain = temporary_beside(self._folder / "rank-0.json")
        try:
            recorder.export_chrome_trace(str(plain))
            write_atomic(self._folder / "rank-0.json.gz", gzip.compress(plain.read_bytes(), 6))
        finally:
            plain.unlink(missing_ok=True)
        _log.info("profile: %s (open it in https://ui.perfetto.dev)", self._folder / "rank-0.json.gz")
