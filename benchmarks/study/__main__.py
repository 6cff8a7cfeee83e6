"""Learning experiments: which merge, which decoder; every arm with the same seeds, draws and settings.

    python -m benchmarks.study [merge] [decoder] [--seeds 3] [--draws 3200] [--folder DIR] [--out FILE.md]
    python -m benchmarks.study --glas DIR ...

On phantoms that it draws, or with --glas on the real tiles of GlaS (DIR: manifest.csv, images/, masks/). Arms are processes of
one thread each, as many at a time as there are cores (--jobs). With --folder, what is done there stays done.
"""

import argparse
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from platform import python_version

import numpy as np

from benchmarks.common.processes import ONE_THREAD, ROOT
from benchmarks.study.arms import GLAS, STUDIES, Arm, Study
from benchmarks.study.verdict import Outcome, by_patient, markdown, outcome, plan
from launch.cli import main as mlseg
from launch.config import load_campaign
from mlseg_core.config import validate
from mlseg_core.exactly_once.run import map_in_processes, merge
from mlseg_core.files import fingerprint, sha256_file
from mlseg_core.logs import log_as_command
from mlseg_dist.config import ModelConfig
from mlseg_dist.evaluation.figures import constant, mean_iou
from mlseg_dist.model import build_model
from mlseg_dist.model.summary import summarise
from shards import cutting, phantom
from shards.manifest import Manifest, read_manifest

SLIDES = {"train": 10, "val": 4, "test": 8, "dev_unseen": 4, "final_unseen": 0}


def main(words: list[str] | None = None) -> int:
    """Write down the plan where there is no page yet, run what is missing, write the tables."""
    log_as_command()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study", description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="*", choices=[*STUDIES, []], help="of the phantoms; default: all")
    parser.add_argument("--glas", type=Path, metavar="DIR", help="study merges on these tiles instead")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=3200, help="pairs drawn in a run (default: 3200)")
    parser.add_argument(
        "--jobs", type=int, default=len(os.sched_getaffinity(0)), help="runs at a time (default: cores)"
    )
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where runs lie; default: a temporary folder")
    parser.add_argument("--out", type=Path, help="default: study.md or study-glas.md under benchmarks/results")
    options = parser.parse_args(words)
    if options.glas and options.studies:
        parser.error("--glas is a study of its own")
    studies = [GLAS] if options.glas else [STUDIES[name] for name in options.studies or STUDIES]
    out = options.out or ROOT / f"benchmarks/results/study{'-glas' if options.glas else ''}.md"
    out.parent.mkdir(parents=True, exist_ok=True)
    if not out.exists():
        out.write_text("\n".join([_title(options), *(plan(study) for study in studies)]))
    with tempfile.TemporaryDirectory(prefix="mlseg-study-") as name:
        folder = options.folder or Path(name)
        corpus = _tiles(folder, options.glas) if options.glas else _phantoms(folder)
        begun = time.monotonic()
        _run_all(studies, folder, corpus, options)
        minutes = (time.monotonic() - begun) / 60
        text = [_title(options)]
        for study in studies:
            outcomes = [_outcome(study, arm, folder, corpus, options) for arm in study.arms]
            text.append(markdown(study, outcomes, _facts(study, outcomes, options)))
            if options.glas:
                patients = {slide.slug: slide.patient for slide in _manifest(corpus).slides}
                text.append(by_patient(study, outcomes, patients))
    out.write_text("\n".join(text))
    print(out.read_text())
    print(f"{minutes:.0f} minutes of training", file=sys.stderr)
    return 0


def _title(options: argparse.Namespace) -> str:
    command = "python -m benchmarks.study" + (" --glas DIR" if options.glas else "")
    cores = len(os.sched_getaffinity(0))
    where = f"`{command}` on {cores} cores, Python {python_version()}, torch {version('torch')}."
    return f"# Networks compared by what they learn{' on GlaS' if options.glas else ''}\n\n{where}\n"


def _facts(study: Study, outcomes: list[Outcome], options: argparse.Namespace) -> str:
    config = load_campaign(ROOT / study.material.config)
    views = f"Views of {config.train.patch_px} px at {config.shards.high_mpp:g} and {config.shards.low_mpp:g} µm/px."
    common = (
        f"{options.seeds} seeds, {options.draws} draws each in steps of 16, batch, schedule and augmentation of "
        f"{f'`{study.material.config}`' if options.glas else 'the demo'}'s master-1 on human labels; "
    )
    if not options.glas:
        return (
            f"{common}best of two validations is scored on {SLIDES['test'] + SLIDES['dev_unseen']} slides of "
            f"the test and unseen-stain splits. {views} Intervals: paired bootstrap over slides. "
            "Look-alikes: mean recall of tumour and DCIS among pixels called tumour or others; chance is .5."
        )
    pooled = outcomes[0].confusions[0].sum(axis=0)
    idle = mean_iou(constant(pooled.sum(axis=1), int(np.argmax(pooled.sum(axis=1)))))
    return (
        f"{common}the last weights are scored on the {len(outcomes[0].units)} tiles of the val and test splits, whose "
        f"patients the networks never saw; nothing is chosen by them. {views} Tumour: malignant glands; others: benign glands; "
        "background: all else. Pixels that lie in several pairs count in each. Interval of this table: paired bootstrap over "
        "tiles. Look-alikes: mean recall of malignant and benign glands among pixels called either; chance is .5. "
        f"Always answering the commonest class: mIoU {float(idle):.3f}."
    )


def _phantoms(folder: Path) -> Path:
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
        cuts = cutting.units(config.shards, slides / "slides.csv")
        map_in_processes(cuts, cutting.cut, shards, cores, describe=cutting.describe)
        cutting.write_manifest(config.shards, slides / "slides.csv", cuts, shards)
    return shards


def _tiles(folder: Path, tiles: Path) -> Path:
    """Shards of the tiles, patients split, by the commands that a user has. Raises SystemExit when one of them fails."""
    slides, shards, config = folder / "slides", folder / "shards", str(ROOT / GLAS.material.config)
    if not (shards / "manifest.json").exists():
        for words in (
            ["import", str(tiles), config, "--out", str(slides)],
            ["build", config, "--slides", str(slides / "slides.csv"), "--out", str(shards)],
        ):
            if status := mlseg(["shards", *words]):
                raise SystemExit(status)
    return shards


def _manifest(corpus: Path) -> Manifest:
    return read_manifest(corpus / "manifest.json")


def _run_all(studies: list[Study], folder: Path, corpus: Path, options: argparse.Namespace) -> None:
    """All arms and seeds that are not done, seed by seed, so that an early look sees every arm."""
    arms = {_network(arm).model_dump_json(): (study, arm) for study in studies for arm in study.arms}
    todo = [(study, arm, seed) for seed in range(1, options.seeds + 1) for study, arm in arms.values()]
    with ThreadPoolExecutor(options.jobs) as pool:
        for done in [pool.submit(_run, *one, folder, corpus, options.draws) for one in todo]:
            done.result()


def _place(study: Study, arm: Arm, seed: int, folder: Path, corpus: Path, draws: int) -> Path:
    """A run's folder: named after all that decides what comes of it."""
    held = asdict(study.material), sha256_file(corpus / "manifest.json")
    return folder / "runs" / fingerprint([_network(arm).model_dump(mode="json"), seed, draws, *held])[:12]


def _run(study: Study, arm: Arm, seed: int, folder: Path, corpus: Path, draws: int) -> None:
    place = _place(study, arm, seed, folder, corpus, draws)
    if (place / "found.json").exists():
        return
    if place.exists():  # a run that was killed; --folder is a person's, so nothing is deleted there
        place.rename(place.with_name(f"{place.name}.broken-{secrets.token_hex(4)}"))
    place.parent.mkdir(parents=True, exist_ok=True)
    job = place.with_suffix(".json")
    settings = {"corpus": str(corpus), "folder": str(place), "seed": seed, "model": arm.model, "draws": draws}
    job.write_text(json.dumps(settings | {"material": asdict(study.material), "port": _free_port()}))
    begun = time.monotonic()
    with open(place.with_suffix(".log"), "w") as log:
        command = [sys.executable, "-m", "benchmarks.study.arm", str(job)]
        subprocess.run(command, cwd=ROOT, env=os.environ | ONE_THREAD, stdout=log, stderr=log, check=True)
    print(f"{arm.name}, seed {seed}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def _outcome(study: Study, arm: Arm, folder: Path, corpus: Path, options: argparse.Namespace) -> Outcome:
    model = _network(arm)
    cost = summarise(lambda: build_model(model, _manifest(corpus).ratio), 128, bf16=False, device=None).json()
    places = [_place(study, arm, seed, folder, corpus, options.draws) for seed in range(1, options.seeds + 1)]
    found = [json.loads((place / "found.json").read_text()) for place in places]
    return outcome(arm, study.material.twins, cost, found)


def _network(arm: Arm) -> ModelConfig:
    return validate(arm.model, ModelConfig, arm.name)


if __name__ == "__main__":
    sys.exit(main())
