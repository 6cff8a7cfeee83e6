"""The generators of a corpus: the ranks of one job share out the pairs; rank 0 lists them all when they are there.

In: the corpus. Out: generators/PAIR/ with a sheet for people in each, then generators/generators.json.
"""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mlseg_core.errors import Interrupted
from mlseg_core.files import sha256_file, write_json
from mlseg_core.progress import Progress
from mlseg_dist.config import LearningConfig
from mlseg_dist.style.pairs import StylePair, generator_folder
from mlseg_dist.style.sheet import write_sheet
from mlseg_dist.style.train import made_of, record, train_pair

LIST = "generators.json"
_POLL_S = 0.5


def train_generators(
    config: LearningConfig,
    shards: Path,
    out: Path,
    pairs: Sequence[StylePair],
    stop: Callable[[], bool],
    tally: Path | None,
) -> None:
    """Train, or go on with, this rank's pairs (RANK, WORLD_SIZE).

    out: the folder that holds `generators`.  tally: where progress goes.  Raises Interrupted after a checkpoint once stop() says
    so, UserError.
    """
    mine, each = pairs[int(os.environ.get("RANK", "0")) :: int(os.environ.get("WORLD_SIZE", "1"))], config.style.steps
    progress = Progress("generators", len(mine) * each, "steps", tally)
    for number, pair in enumerate(mine):

        def advance(step: int, before: int = number * each, pair: StylePair = pair) -> None:
            progress.finished(1)
            progress.place(done=before + step, note=f"{pair.source} -> {pair.target}")

        settings, bf16 = config.train, config.train.precision == "bf16"
        train_pair(
            config.style,
            shards,
            out,
            pair,
            config.seed,
            bf16=bf16,
            threads=settings.threads,
            workers=settings.workers,
            stop=stop,
            advance=advance,
        )
        write_sheet(config.style, shards, out, pair, config.seed, bf16=bf16)
        progress.place(done=(number + 1) * each)
    progress.finish()


def list_generators(
    config: LearningConfig, shards: Path, out: Path, pairs: Sequence[StylePair], stop: Callable[[], bool]
) -> Path:
    """Write LIST once all pairs have their generator; other ranks are at them. Raises Interrupted once stop() says so."""
    bf16 = config.train.precision == "bf16"
    made = {pair: made_of(config.style, shards, pair, config.seed, bf16) for pair in pairs}
    records = _all_of(made, config.style.steps, out, stop)
    facts = {"version": 1, "by": config.style.by, "corpus": sha256_file(shards / "manifest.json"), "pairs": records}
    write_json(out / "generators" / LIST, facts)
    return out / "generators" / LIST


def _all_of(made: dict[StylePair, str], steps: int, out: Path, stop: Callable[[], bool]) -> dict[str, Any]:
    while True:
        records = {pair: record(generator_folder(out, pair)) for pair in made}
        left = [p for p, r in records.items() if r is None or r["made_of"] != made[p] or r["steps"] != steps]
        if not left:
            return {pair.name: found for pair, found in records.items()}
        if stop():
            raise Interrupted(f"stopped before generator {left[0].name} was there")
        time.sleep(_POLL_S)
