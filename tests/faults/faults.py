"""What can happen to a training job. A fault starts the job, waits for its step, does its harm, mends what a person would mend,
and returns what it saw; the caller starts the job again and compares."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from mlseg_dist.events import read_events
from mlseg_dist.run_folder import shards_folder
from shards.manifest import read_manifest
from tests.faults.job import Job
from tests.mlseg_dist.prepared_run import Prepared

INTERRUPTED = 75


def reach(job: Job, step: int, chance: random.Random) -> None:
    """Wait for a step, and then up to a step more."""
    if not job.wait_for(lambda: job.step >= step):
        raise AssertionError(f"the job ended before step {step}:\n{job.said()}")
    time.sleep(chance.random() * 0.15)


def told(prepared: Prepared, event: str) -> list[dict]:
    return [line for line in read_events(prepared.phase) if line["event"] == event]


def kill_a_rank(prepared: Prepared, world: int, step: int, chance: random.Random) -> str:
    job = Job(prepared, world)
    reach(job, step, chance)
    rank = chance.randrange(world)
    job.signal(signal.SIGKILL, [rank])
    codes = job.wait()
    assert codes[rank] == -signal.SIGKILL and 0 not in codes, codes
    return f"rank {rank} killed"


def stop_a_rank(prepared: Prepared, world: int, step: int, chance: random.Random) -> str:
    """Its process stands still; the others have to say which, and to end by themselves."""
    job = Job(prepared, world)
    reach(job, step, chance)
    rank = chance.randrange(world)
    begun = time.monotonic()
    job.signal(signal.SIGSTOP, [rank])
    others = [r for r in range(world) if r != rank]
    assert job.wait_for(lambda: all(job.ranks[r].poll() is not None for r in others), 90)
    took = time.monotonic() - begun
    job.signal(signal.SIGKILL, [rank])
    codes = job.wait()
    assert all(codes[r] == 1 for r in others), codes
    named = told(prepared, "stuck")
    assert named and all(event["rank"] == rank for event in named), (rank, named, job.said())
    return f"rank {rank} stopped, named, ended after {took:.0f} s"


def signal_all(number: signal.Signals) -> "Fault":
    def fault(prepared: Prepared, world: int, step: int, chance: random.Random) -> str:
        job = Job(prepared, world)
        reach(job, step, chance)
        job.signal(number)
        codes = job.wait()
        assert codes == [INTERRUPTED] * world, (codes, job.said())
        return f"{number.name} to all"

    return fault


def signal_one(prepared: Prepared, world: int, step: int, chance: random.Random) -> str:
    """Only one rank hears of it; all have to stop at the same step."""
    job = Job(prepared, world)
    reach(job, step, chance)
    rank = chance.randrange(world)
    job.signal(signal.SIGUSR2, [rank])
    codes = job.wait()
    assert codes == [INTERRUPTED] * world, (codes, job.said())
    return f"USR2 to rank {rank} alone"


def kill_while_saving(prepared: Prepared, world: int, step: int, chance: random.Random) -> str:
    job = Job(prepared, world)
    reach(job, step, chance)
    folder = prepared.phase / "checkpoints"
    assert job.wait_for(lambda: any(folder.glob(".tmp-*"))), "no save was seen"
    time.sleep(chance.random() * 0.02)
    job.signal(signal.SIGKILL)
    job.wait()
    left = len(list(folder.glob(".tmp-*")))
    return f"all killed in a save, {left} half-written"


def damage_newest(harm: Callable[[Path, random.Random], str]) -> "Fault":
    def fault(prepared: Prepared, world: int, step: int, chance: random.Random) -> str:
        job = Job(prepared, world)
        reach(job, max(step, 9), chance)  # two checkpoints, at least
        job.signal(signal.SIGKILL)
        job.wait()
        newest = sorted((prepared.phase / "checkpoints").glob("step-*"))[-1]
        return harm(newest, chance)

    return fault


def truncate(newest: Path, chance: random.Random) -> str:
    file = chance.choice(sorted(newest.iterdir()))
    os.truncate(file, chance.randrange(file.stat().st_size))
    return f"{newest.name}/{file.name} truncated"


def flip(newest: Path, chance: random.Random) -> str:
    file = chance.choice(sorted(newest.glob("*.pt")))
    flip_byte(file, chance.randrange(file.stat().st_size))
    return f"a bit of {newest.name}/{file.name} flipped"


def lose(newest: Path, chance: random.Random) -> str:
    file = chance.choice(sorted(newest.iterdir()))
    file.unlink()
    return f"{newest.name}/{file.name} lost"


def flip_byte(file: Path, at: int) -> None:
    with open(file, "r+b") as handle:
        handle.seek(at)
        byte = handle.read(1)[0]
        handle.seek(at)
        handle.write(bytes([byte ^ (1 << (at % 8))]))


def damaged_shard(prepared: Prepared, world: int, step: int, chance: random.Random) -> str:
    """One byte in every 2 KiB of a shard, while training runs; the job names it and ends; the shard is put back."""
    job = Job(prepared, world)
    reach(job, step, chance)
    folder = shards_folder(prepared.run)
    shards = [shard for shard in read_manifest(folder / "manifest.json").shards if shard.split == "train"]
    path = folder / chance.choice(shards).name
    whole = path.read_bytes()
    for at in range(1024, len(whole), 2048):
        flip_byte(path, at)
    codes = job.wait()
    path.write_bytes(whole)
    assert 1 in codes, (codes, job.said())
    assert path.name in job.said() and "damaged" in job.said()
    return f"{path.name} damaged and named"


def full_disk(prepared: Prepared, world: int, step: int, chance: random.Random) -> str:
    """The phase's folder lies on a small file system that fills up and is freed after a while; the job does not stop."""
    phase = prepared.phase
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", phase], check=True)
    job = Job(prepared, world)
    reach(job, step, chance)
    filler = phase / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    job.wait_for(lambda: len(told_anywhere(job)) > 0 or job.step >= 23)
    time.sleep(chance.random())
    filler.unlink()
    codes = job.wait()
    assert codes == [0] * world, (codes, job.said())
    assert told_anywhere(job), job.said()
    return "disk full while saving, freed later"


def told_anywhere(job: Job) -> list[str]:
    """Failed checkpoints, by the log: events.jsonl lies on the full disk."""
    return [line for line in job.log(0).read_text().splitlines() if "checkpoint-failed" in line]


def tracker_unreachable(prepared: Prepared, world: int, step: int, chance: random.Random) -> str:
    key = "0123456789abcdef" * 2 + "01234567"
    job = Job(prepared, world, {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": key, "WANDB_MODE": "online"})
    reach(job, step, chance)
    job.signal(signal.SIGKILL, [chance.randrange(world)])
    job.wait()
    for path in prepared.run.rglob("*"):
        if path.is_file():
            assert key.encode() not in path.read_bytes(), f"{path} holds the key"
    return "W&B unreachable, then a rank killed"


Fault = Callable[[Prepared, int, int, random.Random], str]
FAULTS: dict[str, Fault] = {
    "kill a rank": kill_a_rank,
    "stop a rank": stop_a_rank,
    "TERM to all": signal_all(signal.SIGTERM),
    "INT to all": signal_all(signal.SIGINT),
    "USR2 to one": signal_one,
    "kill while saving": kill_while_saving,
    "truncate the newest checkpoint": damage_newest(truncate),
    "flip a bit of the newest checkpoint": damage_newest(flip),
    "lose a file of the newest checkpoint": damage_newest(lose),
    "damage a shard": damaged_shard,
    "fill the disk": full_disk,
    "W&B unreachable": tracker_unreachable,
}
"""Name -> (prepared run, ranks, step, chance) -> what was done. Raises AssertionError when the product behaved badly."""

NEEDS_MOUNT = {"fill the disk"}
TRACKED = {"W&B unreachable"}
