"""One mutated file is read: in a process that was forked from this one, with at most 10 s of processor time (a minute on the
clock, for what waits for ever) and 2 GB more memory.

In: formats, and how many cases of each. Out: what came of each case. A process that dies or hangs costs its case, not the others.
"""

import json
import os
import random
import resource
import select
import shutil
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tests.fuzz.mutations import mutated

LIMIT_S = 10
_WALL_S = 60.0
LIMIT_BYTES = 2 << 30
Outcome = Literal["same", "refused", "other, rightly", "SILENT", "UNCLEAR"]


@dataclass(frozen=True)
class Format:
    """files: patterns of those in the material of which one is mutated in each case. read: the folder -> what was read, to be
    compared and printed. errors: what a reader may raise. tail: from which byte on a file is mutated; None: from the first.

    rightly: where a format has no checksum, whether a mutated folder, of which `read` gave this, says just that according to a
    reader that is not ours; None: it has checksums, and other data is always wrong.
    """

    name: str
    files: tuple[str, ...]
    read: Callable[[Path], Any]
    errors: tuple[type[Exception], ...]
    text: bool = False
    rightly: Callable[[Path, Any], bool] | None = None
    tail: Callable[[bytes], int] | None = None


@dataclass(frozen=True)
class Result:
    """What came of case `number` of a format. said: the error, or the first lines of a traceback."""

    format: str
    number: int
    file: str
    mutation: str
    outcome: Outcome
    said: str = ""


def run(format: Format, whole: Path, numbers: Sequence[int], seed: int, scratch: Path) -> Iterator[Result]:
    """One result for each number. whole: the folder of unharmed files. scratch: a folder for mutated ones."""
    left = list(numbers)
    while left:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _work(format, whole, left, seed, scratch, writing)
        os.close(writing)
        lines, ended = b"", False
        while not ended:
            ready = select.select([reading], [], [], _WALL_S)[0]
            chunk = os.read(reading, 1 << 16) if ready else b""
            lines += chunk
            *whole_lines, lines = lines.split(b"\n")
            for line in whole_lines:
                yield Result(**json.loads(line))
                left.pop(0)
            if not ready:
                os.kill(child, signal.SIGKILL)
            ended = not chunk
        os.close(reading)
        status = os.waitpid(child, 0)[1]
        if left and status != 0:
            how = "it does not end" if os.WTERMSIG(status) == signal.SIGKILL else f"the process died (status {status})"
            _, file, done = _mutation(format, whole, left[0], seed)
            yield Result(format.name, left.pop(0), file, done, "UNCLEAR", how)


def _mutation(format: Format, whole: Path, number: int, seed: int) -> tuple[bytes, str, str]:
    chance = random.Random(f"{seed} {format.name} {number}")
    names = sorted(str(path.relative_to(whole)) for name in format.files for path in whole.glob(name))
    file = chance.choice(names)
    data = (whole / file).read_bytes()
    first = format.tail(data) if format.tail is not None else 0
    tail, done = mutated(data[first:], chance, format.text)
    return data[:first] + tail, file, done


def _work(format: Format, whole: Path, numbers: Sequence[int], seed: int, scratch: Path, writing: int) -> None:
    """The forked process: every case in turn, a line of JSON for each."""
    status = 1
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + LIMIT_BYTES, used + LIMIT_BYTES))
        expected = format.read(whole)
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.copytree(whole, scratch)
        for number in numbers:
            data, file, done = _mutation(format, whole, number, seed)
            (scratch / file).write_bytes(data)
            outcome, said = _outcome(format, scratch, expected)
            shutil.copy2(whole / file, scratch / file)
            line = json.dumps(asdict(Result(format.name, number, file, done, outcome, said[:2000])))
            os.write(writing, line.encode() + b"\n")
        status = 0
    except BaseException:
        os.write(writing, b"")
        traceback.print_exc(file=open(f"{scratch}.failed", "w"))  # noqa: SIM115  (this process ends)
    finally:
        os._exit(status)


class _TooLong(BaseException):
    """The time is over: no reader may catch it."""


def _ring(number: int, frame: object) -> None:
    raise _TooLong


def _outcome(format: Format, folder: Path, expected: Any) -> tuple[Outcome, str]:
    signal.signal(signal.SIGPROF, _ring)
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
    try:
        found = format.read(folder)
    except _TooLong:
        return "UNCLEAR", f"it takes more than {LIMIT_S} s"
    except format.errors as error:
        said = str(error)
        clear = bool(said) and "\n" not in said and len(said) < 1000
        return ("refused", said) if clear else ("UNCLEAR", f"{type(error).__name__}: {said}")
    except BaseException as error:
        return "UNCLEAR", f"{type(error).__name__}: {error}\n{''.join(traceback.format_tb(error.__traceback__)[-3:])}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if found == expected:
        return "same", ""
    shown = f"{str(found)[:300]}, not {str(expected)[:300]}"
    if format.rightly is None:
        return "SILENT", shown
    try:
        return ("other, rightly", "") if format.rightly(folder, found) else ("SILENT", shown)
    except Exception as error:
        return "SILENT", f"{shown}; the other reader: {type(error).__name__}: {str(error)[:200]}"
