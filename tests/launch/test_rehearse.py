"""rehearse: a small campaign of the same networks and jobs, interrupted once, that ends with rates."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from launch.config import load_campaign
from launch.estimate.rates import choose, read
from launch.graph import build_graph
from launch.phases import kind_of
from launch.rehearsal import rehearsal_of
from mlseg_core.errors import UserError
from tests.launch.conftest import tiny_campaign
from tests.launch.preflight.test_preflight import on_slides
from tests.shards.slides_for_tests import square_feature, write_annotation, write_corpus


def test_a_rehearsal_has_the_real_networks_batches_and_jobs(config) -> None:
    small = rehearsal_of(config)
    assert small.name == "tiny-rehearsal" and small.folder != config.folder
    assert [step.model for step in small.steps] == [step.model for step in config.steps]
    assert small.cluster == config.cluster
    assert small.train.quads_per_micro_batch == config.train.quads_per_micro_batch
    draws = small.train.epoch_draws
    assert draws is not None and draws * small.steps[0].epochs / 8 == 20  # pairs of a step
    assert [phase.name for phase in build_graph(small)] == [phase.name for phase in build_graph(config)]
    for phase in build_graph(config):  # the saved config is one that loads
        kind_of(phase).concerns(small, phase)


def test_its_slides_are_few_and_hold_every_class(tmp_path: Path) -> None:
    config = load_campaign(on_slides(tmp_path))
    write_corpus(tmp_path / "slides", slides=30)  # ten of each split
    for number in (0, 3):  # the first two slides to learn from have stroma only
        write_annotation(tmp_path / "slides" / f"s{number}.geojson", square_feature("Stroma", 100, 100, 420, 700))
    write_annotation(tmp_path / "slides" / "s6.geojson", square_feature("Tumor", 100, 100, 420, 700))
    write_annotation(tmp_path / "slides" / "s9.geojson", square_feature("DCIS", 100, 100, 420, 700))
    small = rehearsal_of(config)
    assert small.slides is not None
    rows = list(csv.DictReader(small.slides.open()))
    assert [Path(row["slide"]).name for row in rows] == ["s0.tif", "s6.tif", "s9.tif", "s1.tif", "s2.tif"]
    assert all(Path(row["slide"]).is_absolute() and Path(row["annotation"]).exists() for row in rows)
    (tmp_path / "slides" / "s9.geojson").unlink()
    write_annotation(tmp_path / "slides" / "s9.geojson", square_feature("Stroma", 100, 100, 420, 700))
    with pytest.raises(UserError, match="lacks a training class"):
        for number in range(12, 30, 3):
            write_annotation(tmp_path / "slides" / f"s{number}.geojson", square_feature("Stroma", 1, 1, 420, 700))
        rehearsal_of(config)


def test_for_gan_style_they_are_of_two_scanners(tmp_path: Path) -> None:
    path = on_slides(tmp_path)
    write_corpus(tmp_path / "slides", slides=30)
    table = tmp_path / "slides" / "slides.csv"
    rows = list(csv.DictReader(table.open()))
    rows[12]["scanner"] = "another"  # the fifth slide to learn from
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    plain = rehearsal_of(load_campaign(path)).slides
    styled = rehearsal_of(load_campaign(path, ["steps.master-1.augment=[{op: gan_style}]", "style.crop_px=64"]))
    assert styled.style.steps == 20 and styled.slides is not None and plain is not None
    of_train = [row["scanner"] for row in csv.DictReader(styled.slides.open()) if row["split"] == "train"]
    assert len(of_train) == 2 and of_train[1] == "another"


def test_it_goes_through_every_phase_and_one_interruption(tmp_path: Path) -> None:
    config = tiny_campaign(tmp_path, styled=True)

    def mlseg(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "launch.cli", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)

    ended = mlseg("rehearse", config, "--steps", "6")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "base was interrupted once and went on" in ended.stdout
    run = tmp_path / "runs" / "tiny-rehearsal"
    events = [json.loads(line) for line in (run / "phases" / "04-base" / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events].count("started") == 2
    rates = read(run / "rates.json")
    real = load_campaign(config)
    assert all(choose(rates, real, phase) is not None for phase in build_graph(real))
    shown = json.loads(mlseg("plan", config, "--rates", run / "rates.json", "--json").stdout)
    assert shown["left"]["wall_s"] > 0 and not (tmp_path / "runs" / "tiny").exists()
