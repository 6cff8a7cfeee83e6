"""Learning experiments on the phantoms: which merge, which decoder; every arm with the same seeds, draws and settings.

    python -m benchmarks.study [merge] [decoder] [--seeds 3] [--draws 3200] [--folder DIR] [--out FILE.md]

Arms are processes of one thread each, as many at a time as there are cores. With --folder, what is done there stays done.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

from benchmarks.race import ROOT
from benchmarks.rows.row import ONE_THREAD
from benchmarks.studies.arms import STUDIES, Arm, Study
from benchmarks.studies.verdict import markdown, outcome
from launch.config import load_campaign
from mlseg_core.config import validate
from mlseg_core.files import fingerprint
from mlseg_core.map import map_in_processes, merge
from mlseg_dist.config import ModelConfig
from mlseg_dist.model import build_model
from mlseg_dist.model.summary import summarise
from shards import build, phantom

SLIDES = {"train": 10, "val": 4, "test": 8, "dev_unseen": 4, "final_unseen": 0}


def main() -> int:
    """Run what is missing, write the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study", description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="*", choices=[*STUDIES, []], help="default: all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=3200, help="pairs drawn in a run (default: 3200)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where runs lie; default: a temporary folder")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/study.md")
    options = parser.parse_args()
    studies = [STUDIES[name] for name in options.studies or STUDIES]
    with tempfile.TemporaryDirectory(prefix="mlseg-study-") as name:
        folder = options.folder or Path(name)
        corpus = _corpus(folder)
        begun = time.monotonic()
        _run_all(studies, folder, corpus, options.seeds, options.draws)
        minutes = (time.monotonic() - begun) / 60
        facts = (
            f"{options.seeds} seeds, {options.draws} draws each in steps of 16, batch, schedule and augmentation of the demo's "
            f"master-1 on human labels; best of two validations is scored on {SLIDES['test'] + SLIDES['dev_unseen']} slides of "
            "the test and unseen-stain splits. Views of 128 px at 2 and 8 µm/px. Intervals: paired bootstrap over slides. "
            "Look-alikes: mean recall of tumour and DCIS among pixels called tumour or others; chance is .5."
        )
        cores = len(os.sched_getaffinity(0))
        text = [
            "# Networks compared by what they learn",
            "",
            f"`python -m benchmarks.study` on {cores} cores, Python {python_version()}, torch {version('torch')}.",
            "",
        ]
        for study in studies:
            text.append(markdown(study, [_outcome(arm, folder, options) for arm in study.arms], facts))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text("\n".join(text))
    print(options.out.read_text())
    print(f"{minutes:.0f} minutes of training", file=sys.stderr)
    return 0


def _corpus(folder: Path) -> Path:
    """Phantom slides, more of them held out than in the demo, and their shards."""
    config = load_campaign(ROOT / "configs/demo.yaml")
    assert config.phantom is not None
    settings = config.phantom.model_copy(update=SLIDES)
    slides, shards = folder / "slides", folder / "shards"
    cores = len(os.sched_getaffinity(0))
    if not (shards / "manifest.json").exists():
        todo = phantom.units(settings)
        map_in_processes(todo, phantom.draw, slides, cores)
        merge(todo, slides)
        phantom.write_table(settings, slides)
        cuts = build.units(config.shards, slides / "slides.csv")
        map_in_processes(cuts, build.cut, shards, cores, describe=build.describe)
        build.write_manifest(config.shards, slides / "slides.csv", cuts, shards)
    return shards


def _run_all(studies: list[Study], folder: Path, corpus: Path, seeds: int, draws: int) -> None:
    """All arms and seeds that are not done, seed by seed, so that an early look sees every arm."""
    arms = list({_network(arm).model_dump_json(): arm for study in studies for arm in study.arms}.values())
    todo = [(arm, seed) for seed in range(1, seeds + 1) for arm in arms]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for done in [pool.submit(_run, arm, seed, folder, corpus, draws, n) for n, (arm, seed) in enumerate(todo)]:
            done.result()


def _place(arm: Arm, seed: int, folder: Path, draws: int) -> Path:
    return folder / "runs" / fingerprint([_network(arm).model_dump(mode="json"), seed, draws])[:12]


def _run(arm: Arm, seed: int, folder: Path, corpus: Path, draws: int, number: int) -> None:
    place = _place(arm, seed, folder, draws)
    if (place / "found.json").exists():
        return
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    job = place.with_suffix(".json")
    settings = {"corpus": str(corpus), "folder": str(place), "seed": seed, "model": arm.model, "draws": draws}
    job.write_text(json.dumps(settings | {"port": str(29600 + number)}))
    begun = time.monotonic()
    with open(place.with_suffix(".log"), "w") as log:
        command = [sys.executable, "-m", "benchmarks.studies.arm", str(job)]
        subprocess.run(command, cwd=ROOT, env=os.environ | ONE_THREAD, stdout=log, stderr=log, check=True)
    print(f"{arm.name}, seed {seed}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)


def _outcome(arm: Arm, folder: Path, options: argparse.Namespace) -> Any:
    model = _network(arm)
    cost = summarise(lambda: build_model(model, 4), 128, bf16=False, device=None).json()
    places = [_place(arm, seed, folder, options.draws) for seed in range(1, options.seeds + 1)]
    return outcome(arm, cost, [json.loads((place / "found.json").read_text()) for place in places])


def _network(arm: Arm) -> ModelConfig:
    return validate(arm.model, ModelConfig, arm.name)


if __name__ == "__main__":
    sys.exit(main())
