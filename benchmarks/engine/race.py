"""One rank of a job that times the rows of loops.py in turns, forwards and backwards: `python -m benchmarks.engine.race JSON OUT`.

JSON: config_file, train (changes of TrainConfig), seconds, least (rounds), seed (of the order in which rows are made).
Out: OUT/RANK.json, row -> seconds of a step by round.
"""

import json
import random
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

from benchmarks.engine.loops import ROWS, Bench, micro_batch
from mlseg_dist.config import TrainConfig
from mlseg_dist.training.engine import join_world


def main() -> None:
    """Warm each row up by two steps, then take turns until the time is up."""
    job = json.loads(sys.argv[1])
    train = TrainConfig(**job["train"])
    world = join_world(train)
    mine = range(world.rank, train.micro_batches_per_step, world.size)
    bench = Bench(job["config_file"], train, world, [micro_batch(train, number, world.device) for number in mine])
    made = random.Random(job["seed"]).sample(list(ROWS), len(ROWS))
    steps = {name: ROWS[name](bench) for name in made}
    seconds: dict[str, list[float]] = {name: [] for name in ROWS}

    def timed(name: str) -> float:
        dist.barrier()
        begun = time.perf_counter()
        steps[name]()
        if world.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - begun
        getattr(steps[name], "settle", lambda: None)()
        return seconds

    for name in steps:
        timed(name), timed(name)
    end = time.monotonic() + job["seconds"]
    order = list(steps)
    while not (world.agree([time.monotonic() > end])[0] and len(seconds[order[0]]) >= job["least"]):
        for name in order:
            seconds[name].append(timed(name))
        order.reverse()
    (Path(sys.argv[2]) / f"{world.rank}.json").write_text(json.dumps(seconds))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
