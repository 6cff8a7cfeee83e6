"""One process with several workers of a round, each in a thread; it may be killed, and all its workers with it.

    python -m benchmarks.scale.worker TASK.json FIRST LAST LIFE

The workers are mlseg_core.exactly_once.run.run_units with a store that kills the process (SIGKILL) at random between writing a file
and publishing it, or between publishing it and the record. Their work writes a tar of one small sample where a teacher would label
a shard; the index has a row a sample, as it is in a real round.
"""

import io
import json
import os
import random
import signal
import sys
import tarfile
import threading
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from benchmarks.common.processes import peak_mib
from mlseg_core.exactly_once.run import Scratch, Unit, run_units
from mlseg_core.store import Folder
from mlseg_dist.config import CLASSES
from shards.manifest import pack_seeds
from shards.tar import Place, ShardReader, write_end, write_shard

MEMBERS = ("high.png", "json", "low.png")
PX = 384**2


class Mortal(Folder):
    """A folder whose user dies at times. rate: deaths a file that is published."""

    def __init__(self, path: Path, rate: float, chance: random.Random) -> None:
        super().__init__(path)
        self._rate, self._chance = rate, chance

    def publish_first(self, temporary: Path, name: str, file: BinaryIO | None = None) -> Path:
        drawn = self._chance.random()
        if drawn < self._rate / 2:
            os.kill(os.getpid(), signal.SIGKILL)
        published = super().publish_first(temporary, name, file)
        if self._rate / 2 <= drawn < self._rate:
            os.kill(os.getpid(), signal.SIGKILL)
        return published


def label(unit: Unit, scratch: Scratch) -> None:
    """As labelling.label, without pixels: the bytes follow from the unit. Every row of the index leads to one small sample."""
    _, name, samples = unit.payload
    one = io.BytesIO()
    write_shard(one, [("sample", {member: f"{unit.inputs} {member}".encode() for member in MEMBERS})])
    file = scratch.open(name)
    file.write(one.getvalue())
    file.flush()
    place = Place.find(file.fileno())
    index = np.full(samples, place.row(file.fileno(), 0))
    slug = unit.name.encode()
    index["key"] = np.char.add(slug + b"+y0000000+x", np.char.zfill(np.arange(samples).astype("S7"), 7))
    file.truncate(file.seek(place.start - tarfile.BLOCKSIZE))
    write_end(file, index)
    file.flush()


def describe(unit: Unit, files: dict[str, Path], derived: Scratch) -> dict[str, Any]:
    """As labelling.describe: reads the winner's tar, says what the merge adds up."""
    shard, name, samples = unit.payload
    with ShardReader(files[name], MEMBERS, derived.winners.get(name)) as made:
        if len(made.index) != samples:
            raise RuntimeError(f"{name} has {len(made)} samples, not {samples}")
        index_sha256 = made.index_sha256
    classes = np.random.default_rng(int(unit.inputs[:8], 16)).integers(0, 3, samples)
    counts = np.bincount(classes, minlength=3).tolist()
    pixels = {c: n * PX for c, n in zip(CLASSES, counts, strict=True)}
    return {
        "samples": samples,
        "index_sha256": index_sha256,
        "of": shard,
        "pixels": pixels | {"rejected": 0},
        "seeds": dict(zip(CLASSES, counts, strict=True)) | {"not drawn": 0},
        "taught": pixels,
        "device": "none",
        "seed_of_each": pack_seeds(classes),
    }


def main() -> int:
    """Run the workers FIRST to LAST - 1."""
    task = json.loads(Path(sys.argv[1]).read_text())
    first, last, life = (int(word) for word in sys.argv[2:5])
    units = [Unit(name, inputs, payload, cost) for name, inputs, payload, cost in task["units"]]
    failed: list[str] = []

    def work(number: int) -> None:
        chance = random.Random(f"{task['seed']} {number} {life}")
        store: Any = Mortal(Path(task["folder"]), task["rate"], chance)
        failures = run_units(units, label, store, describe=describe, worker=number, workers=task["workers"])
        failed.extend(failure.reason for failure in failures)

    said = sys.stdout
    with open(os.devnull, "w") as sys.stdout:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(first, last)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    sys.stdout = said
    print(json.dumps({"peak_mib": peak_mib(), "failed": failed}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
