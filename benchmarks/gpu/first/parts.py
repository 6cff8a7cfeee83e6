"""Runs the parts of a stage one after the other, each in a process of its own with a time limit.

In: parts. Out: DIR/stage-N/PART.jsonl, one JSON object a row, written as soon as it is measured; PART.log, what the part
printed; a Result for each part. A part that fails, hangs or takes the CUDA context down with it ends alone, and keeps its rows.
However this process ends, its part does not stay behind on the device.
"""

import ctypes
import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil
import torch

_PR_SET_PDEATHSIG = 1
_GRACE_S = 5.0
"""Seconds between asking a part to end and killing it."""


@dataclass(frozen=True)
class Settings:
    """What all parts are told. device: `cuda` or `cpu`.  tiny: sizes that a CPU does in seconds, to see that a part runs.

    scratch: a folder for files that nobody needs afterwards. cores: CPUs that this process may use.
    """

    device: Literal["cuda", "cpu"]
    tiny: bool
    out: Path
    scratch: Path

    @property
    def cores(self) -> int:
        return len(os.sched_getaffinity(0))

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self.device == "cuda":
            torch.cuda.synchronize()


class Rows:
    """What a part has measured so far; every row is on disk before the part goes on."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, **figures: Any) -> None:
        """One row. Values are what JSON can hold; floats are rounded to five significant digits."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({name: _rounded(value) for name, value in figures.items()}) + "\n")


class Skipped(Exception):
    """The part cannot run here, and says why."""


@dataclass(frozen=True)
class Part:
    """title: what it measures. limit_s: seconds on a GPU. decides: the question that it answers."""

    name: str
    title: str
    limit_s: float
    run: Callable[[Settings, Rows], None]
    decides: str = ""


@dataclass(frozen=True)
class Result:
    """How a part ended. state: `done`, `failed`, `timed out`, `skipped` or `no time left`. why: in one line."""

    part: str
    title: str
    decides: str
    state: str
    seconds: float
    why: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)

    def json(self) -> dict[str, Any]:
        return asdict(self)


def run_parts(
    parts: Sequence[Part],
    folder: Path,
    settings: Settings,
    limit_s: float,
    keep: Callable[[list[Result]], None] = lambda results: None,
) -> list[Result]:
    """Run all parts within limit_s seconds. settings.tiny lifts the parts' own limits, not the stage's.

    folder: of the stage. keep: called after each part with all results so far.
    """
    folder.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + limit_s
    results = []
    for part in parts:
        left = end - time.monotonic()
        if left < 1:
            results.append(Result(part.name, part.title, part.decides, "no time left", 0.0))
            keep(results)
            continue
        results.append(_run(part, folder, settings, left if settings.tiny else min(left, part.limit_s)))
        result = results[-1]
        print(
            f"{part.name}: {result.state}, {result.seconds:.0f} s{f', {result.why}' if result.why else ''}", flush=True
        )
        keep(results)
    return results


def _run(part: Part, folder: Path, settings: Settings, limit_s: float) -> Result:
    rows, log, end = (folder / f"{part.name}.{suffix}" for suffix in ("jsonl", "log", "end"))
    for path in (rows, log, end):
        path.unlink(missing_ok=True)
    sys.stdout.flush(), sys.stderr.flush()
    begun = time.monotonic()
    # Fork: what is imported here, is imported there. Nothing here may have touched CUDA, or no child could.
    process = multiprocessing.get_context("fork").Process(target=_child, args=(part, settings, rows, log, end))
    process.start()
    try:
        process.join(limit_s)
        timed_out = process.is_alive()
    finally:
        _end(process)
    seconds = time.monotonic() - begun
    state, why = "done", ""
    if end.exists():
        said = json.loads(end.read_text())
        state, why = said["state"], said["why"]
        end.unlink()
    elif timed_out:
        state, why = "timed out", f"after {limit_s:.0f} s"
    else:
        state, why = "failed", _of_exit(process.exitcode)
    measured = [json.loads(line) for line in rows.read_text().splitlines()] if rows.exists() else []
    return Result(part.name, part.title, part.decides, state, round(seconds, 1), why, measured)


def _child(part: Part, settings: Settings, rows: Path, log: Path, end: Path) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, _end_all)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # also when the parent is killed
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    state, why = "done", ""
    try:
        part.run(settings, Rows(rows))
    except Skipped as reason:
        state, why = "skipped", str(reason)
    except BaseException as error:
        traceback.print_exc()
        state, why = "failed", f"{type(error).__name__}: {_first_line(error)}"
    sys.stdout.flush(), sys.stderr.flush()
    end.write_text(json.dumps({"state": state, "why": why}))
    os._exit(0)  # no atexit handler may hang on a broken device


def _end(process: Any) -> None:
    """End the part and all that it has started, whatever group or session that is in."""
    if not process.is_alive():
        return
    started = _descendants(process.pid)
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGTERM)  # see _end_all
    process.join(_GRACE_S)
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    process.join(_GRACE_S)
    _kill(started)


def _end_all(*_: Any) -> None:
    """In a part that is to end: kill its children and itself. Python calls this only between two of its own instructions."""
    _kill(_descendants(os.getpid()))
    os._exit(143)


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()  # psutil makes sure that the pid has not been given to another process


def _of_exit(status: int | None) -> str:
    if status is not None and status < 0:
        return f"ended by {signal.Signals(-status).name}"
    return f"exit status {status}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:300]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value
