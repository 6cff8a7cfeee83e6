"""Starts and ends the process beside rank 0 that feeds W&B: training neither waits for it nor shares its interpreter."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import mlseg_dist
from mlseg_dist.config import LearningConfig

_log = logging.getLogger(__name__)


class Tracker:
    """Starts it; close() waits at most `patience_s` seconds for what is not sent yet, then ends it whatever it does."""

    def __init__(self, config: LearningConfig, phase: Path, patience_s: float = 20.0) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self.patience_s = patience_s
        if not config.tracking.enabled:
            return
        from mlseg_dist.tracking.run import shown_config

        # The child must find the code that this process runs (a run's frozen copy), not what lies in the working folder.
        path = [str(Path(mlseg_dist.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        command = [sys.executable, "-P", "-m", "mlseg_dist.tracking", str(phase), str(patience_s)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}
        environment.pop("WANDB_SERVICE", None)  # the child has a sender of its own, which ends with it
        try:
            self._child = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, env=environment)
            assert self._child.stdin is not None
            self._child.stdin.write(json.dumps(shown_config(config)).encode() + b"\n")
            self._child.stdin.flush()
        except OSError as error:
            _log.warning("W&B is off for this phase: %s", error)

    def close(self) -> None:
        if self._child is None:
            return
        with contextlib.suppress(OSError):
            assert self._child.stdin is not None
            self._child.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(self.patience_s)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)  # wandb's own process too; it has had its time
        self._child.wait()
        self._child = None
