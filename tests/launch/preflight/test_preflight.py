"""preflight: every check sees what is wrong, says how to fix it, and leaves nothing behind."""

import json
import os
import sys
from pathlib import Path

import pytest
import yaml

from launch.cli import main
from launch.config import CampaignConfig, load_campaign
from launch.estimate.amounts import PAIR_BYTES_PER_PX, measure, parameters
from launch.graph import build_graph
from launch.preflight import CHECKS
from launch.preflight.files import probe
from launch.preflight.partitions import read_partitions
from launch.preflight.space import Quota, parse
from launch.resources.quantities import minutes, size
from launch.run_folder import RunFolder
from mlseg_dist.model import build_model
from tests.launch.conftest import tiny_campaign
from tests.shards.slides_for_tests import write_corpus


def look(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, dict[str, str]]]:
    """Exit status, and the findings by name; of several with one name the worst."""
    status = main(["preflight", *map(str, words), "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert shown["ok"] == (status == 0)
    order = ["skipped", "ok", "warning", "bad"]
    return status, {row["name"]: row for row in sorted(shown["checks"], key=lambda row: order.index(row["mark"]))}


def on_slides(tmp_path: Path) -> Path:
    write_corpus(tmp_path / "slides")
    path = tiny_campaign(tmp_path)
    raw = yaml.safe_load(path.read_text())
    del raw["phantom"]
    path.write_text(yaml.safe_dump({**raw, "slides": str(tmp_path / "slides" / "slides.csv")}))
    return path


def test_a_sound_campaign_is_ready_and_nothing_is_written(tmp_path: Path, capsys) -> None:
    config = on_slides(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    status, found = look(capsys, config)
    assert status == 0, found
    assert sorted(tmp_path.rglob("*")) == before
    assert found["slides"]["seen"] == "3 of 3 slides and their annotations can be read"
    assert found["ranks"]["seen"] == "2 ranks share 2 micro-batches: 8 pairs a step"
    assert found["node"]["mark"] == found["SLURM"]["mark"] == "skipped"
    assert {"config", "write: run folder", "space: run folder", "python", "W&B"} <= set(found)


def test_dali_wants_gpus_from_the_jobs_that_use_it(tmp_path: Path, capsys, monkeypatch) -> None:
    pytest.importorskip("nvidia.dali", reason="NVIDIA DALI is not installed (extra cuda12)")
    config, labels = on_slides(tmp_path), "steps.base.label.decode_on=gpu"
    assert "DALI" not in look(capsys, config)[1]
    for words, job in ((["train.augment_on=gpu"], "train"), ([labels], "label")):
        status, found = look(capsys, config, *words)
        assert status == 2 and f"cluster.{job} asks for no GPU" in found["DALI"]["seen"], found
        assert found["DALI"]["fix"].startswith(f"Set cluster.{job}.gpus, or "), found
        row = look(capsys, config, *words, f"cluster.{job}.gpus=1")[1]["DALI"]
        assert row["mark"] == "ok" or (job == "train" and "libnppig.so.12" in row["seen"]), row
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)  # as where it is not installed
    assert "not installed" in look(capsys, config, labels, "cluster.label.gpus=1")[1]["DALI"]["seen"]


def test_the_table_of_an_80_column_terminal(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["preflight", str(on_slides(tmp_path)), "train.micro_batches_per_step=3"]) == 2
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "✗  config" in shown and "→" in shown
    assert "not ready: " in shown and "1 bad" in shown


@pytest.mark.parametrize(
    ("override", "name", "words"),
    [
        ("train.micro_batches_per_step=3", "config", "2 ranks cannot share 3"),
        ("seeed=3", "config", "unknown key 'seeed'"),
        ("slides=missing.csv", "slides", "no such slide table"),
        ("cluster.executor=slurm", "slurm", "this machine has none"),
        ("steps.base.name=shards", "config", "name of another phase"),
        ("name=50%", "config", "job logs cannot carry"),
        ("cluster.train={tasks_per_node: 2, gpus: 1}", "ranks", "2 ranks on 1 GPU a node"),
    ],
)
def test_mistakes_are_bad_and_exit_with_2(tmp_path, capsys, monkeypatch, override: str, name: str, words: str) -> None:
    programs = [folder for folder in os.environ["PATH"].split(":") if not (Path(folder) / "sbatch").exists()]
    monkeypatch.setenv("PATH", ":".join(programs))
    status, found = look(capsys, on_slides(tmp_path), override)
    assert status == 2
    assert words in found[name]["seen"] and found[name]["mark"] == "bad" and found[name]["fix"]
    told = [row["seen"] for row in found.values() if row["mark"] == "bad"]
    assert len(set(told)) == len(told)  # one mistake is told once


def test_a_slide_that_will_be_quarantined_is_a_warning(tmp_path: Path, capsys) -> None:
    config = on_slides(tmp_path)
    (tmp_path / "slides" / "s1.tif").write_text("no slide")
    status, found = look(capsys, config, "shards.max_quarantined=0.5")
    assert status == 0
    assert found["slides"]["mark"] == "warning"
    assert "1 will be quarantined" in found["slides"]["seen"] and "s1.tif" in found["slides"]["seen"]


def test_gan_style_wants_slides_of_two_scanners(tmp_path: Path, capsys) -> None:
    config, styled = on_slides(tmp_path), ["steps.master-1.augment=[{op: gan_style}]", "style.crop_px=64"]
    status, found = look(capsys, config, *styled)
    assert status == 2 and "but one scanner" in found["styles"]["seen"] and "master-1" in found["styles"]["seen"]
    table = tmp_path / "slides" / "slides.csv"
    write_corpus(tmp_path / "slides", slides=9)
    lines = table.read_text().splitlines()
    column = lines[0].split(",").index("scanner")
    for number in (4, 7):  # both of the train split
        cells = lines[number].split(",")
        lines[number] = ",".join([*cells[:column], f"other {number}", *cells[column + 1 :]])
    table.write_text("\n".join(lines) + "\n")
    status, found = look(capsys, config, *styled)
    assert status == 0 and found["styles"]["seen"].startswith("6 pairs of scanners")
    status, found = look(capsys, config, *styled, "style.pairs=[[other 4, nowhere]]")
    assert status == 2 and "no scanner 'nowhere'" in found["styles"]["seen"]
    assert "styles" not in look(capsys, config)[1], "nobody asks for them"


def test_names_are_data(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = 'it\'s $(touch pwned) "q" `touch pwned`;touch pwned'
    config = on_slides(tmp_path)
    for words in (["preflight"], ["plan"]):
        assert main([*words, str(config), f"name={json.dumps(name)}", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out.split("\n}\n")[1] + "\n}")
    assert shown["name"] == name and shown["run"].endswith(name)
    assert not list(tmp_path.rglob("pwned"))


def test_where_links_are_refused_is_named(tmp_path: Path) -> None:
    assert probe("x", tmp_path / "not" / "yet" / "there").mark == "ok"
    assert not list(tmp_path.iterdir())
    proc = probe("x", Path("/proc/self"))
    assert proc.mark == "bad" and "create a folder failed" in proc.seen


def test_expected_pairs_are_those_that_are_cut(tmp_path: Path) -> None:
    """Counted from the annotations beforehand, and in the manifest afterwards: the same, as no tissue is asked for."""
    from mlseg_core.exactly_once.run import run_units
    from shards import cutting

    config = load_campaign(on_slides(tmp_path), ["shards.stride_um=64"])
    run = RunFolder.of(config)
    expected = measure(config, build_graph(config), run)
    assert not expected.counted and expected.base > 0

    todo = cutting.units(config.shards, tmp_path / "slides" / "slides.csv")
    folder = run.data / "shards"
    assert run_units(todo, cutting.cut, folder, describe=cutting.describe, worker=0, workers=1) == []
    cutting.write_manifest(config.shards, tmp_path / "slides" / "slides.csv", todo, folder)
    counted = measure(config, build_graph(config), run)
    assert counted.counted
    assert (counted.pairs, counted.base) == (expected.pairs, expected.base)
    assert counted.bytes["shards"] == sum(path.stat().st_size for path in folder.glob("*.tar"))
    assert expected.bytes["shards"] == pytest.approx(
        sum(expected.pairs.values()) * PAIR_BYTES_PER_PX * 2 * config.shards.store_px**2, abs=1
    )


def test_parameters_are_the_networks(config: CampaignConfig) -> None:
    step = config.steps[1]
    state = build_model(step.model, config.shards.ratio).state_dict()
    assert parameters(step.model, config.shards.ratio) == sum(tensor.numel() for tensor in state.values())


def test_too_little_space_is_bad(config_path: Path, capsys) -> None:
    few = ["phantom.size_um=20000", "phantom.mpp=0.25", "phantom.train=100000"]
    status, found = look(capsys, config_path, *few)
    assert status == 2
    assert "Free " in found["space: run folder"]["fix"]


def test_shards_that_changed_are_found_by_size_and_by_hash(tmp_path: Path, capsys) -> None:
    config = load_campaign(on_slides(tmp_path))
    from mlseg_core.exactly_once.run import run_units
    from shards import cutting

    folder, table = RunFolder.of(config).data / "shards", tmp_path / "slides" / "slides.csv"
    todo = cutting.units(config.shards, table)
    run_units(todo, cutting.cut, folder, describe=cutting.describe, worker=0, workers=1)
    cutting.write_manifest(config.shards, table, todo, folder)
    shard = next(iter(sorted(folder.glob("*.tar"))))
    whole = shard.read_bytes()
    capsys.readouterr()

    assert look(capsys, tmp_path / "tiny.yaml", "--full")[1]["shards"]["mark"] == "ok"
    shard.write_bytes(whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:])
    assert look(capsys, tmp_path / "tiny.yaml")[1]["shards"]["mark"] == "ok"
    status, found = look(capsys, tmp_path / "tiny.yaml", "--full")
    assert status == 2 and shard.name in found["shards"]["seen"]
    shard.write_bytes(whole[:-1])
    status, found = look(capsys, tmp_path / "tiny.yaml")
    assert status == 2 and shard.name in found["shards"]["seen"]


def test_node_job_on_this_machine(config_path: Path, capsys) -> None:
    status, found = look(capsys, config_path, "--node-job")
    assert status == 0, found
    seen = found["node: train jobs"]["seen"]
    assert "2 ranks met over gloo" in seen and "CPUs" in seen and " free in " in seen
    assert not (config_path.parent / "runs" / "tiny.preflight").exists()


def test_online_without_a_server_stays_offline(config_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    status, found = look(capsys, config_path, "tracking.enabled=true")
    assert status == 0
    assert found["W&B"]["mark"] == "warning" and "wandb-follow" in found["W&B"]["seen"]


def test_every_check_is_in_the_registry() -> None:
    names = ["config", "slides", "styles", "shards", "write", "space", "slurm", "python", "wandb", "alerts", "node"]
    assert list(CHECKS) == names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30", 30),
        ("1:30:00", 90),
        ("2:30", 2.5),
        ("7-00:00:00", 10080),
        ("1-12", 2160),
        ("UNLIMITED", float("inf")),
    ],
)
def test_time_limits_as_slurm_writes_them(text: str, expected: float) -> None:
    assert minutes(text) == expected


def test_partitions_and_quotas_are_read() -> None:
    text = (
        "PartitionName=a Default=YES MaxTime=7-00:00:00 State=UP TotalNodes=3\nPartitionName=b Default=NO MaxTime=60\n"
    )
    assert {name: row["MaxTime"] for name, row in read_partitions(text).items()} == {"a": "7-00:00:00", "b": "60"}
    said = (
        "Disk quotas for user me (uid 1):\n"
        "     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace\n"
        "/dev/sda1  2097152*  1048576  3145728  0  12  0  0  0\n"
        "/home 5 0 0 0 1 0 0 0\n"
    )
    assert parse(said) == [Quota("/dev/sda1", 2 * 2**30, 3 * 2**30)]


def test_sizes_are_readable() -> None:
    assert [size(n) for n in (999, 1_500, 2_500_000, 7.1e12)] == ["999 B", "1.5 kB", "2.5 MB", "7.1 TB"]
