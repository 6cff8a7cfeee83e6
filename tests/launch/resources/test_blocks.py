"""One block for each kind of work: what it takes from `default`, what it never does, and what is refused."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from launch.campaign import load_where
from launch.cli import main
from launch.config import CampaignConfig, load_campaign
from launch.graph import build_graph
from launch.phases import block_of, job_of
from launch.planner import MissingPhase, has_failed
from launch.resources.blocks import BLOCKS, ClusterConfig
from launch.run_folder import RunFolder
from launch.slurm.job_plans import JobPlan
from launch.slurm.submit import script
from mlseg_core.config import dump_config, validate
from mlseg_core.errors import UserError

PROJECT = Path(__file__).parents[3]


def cluster(**blocks: Any) -> ClusterConfig:
    return validate(blocks, ClusterConfig, "site.yaml")


def test_a_block_takes_from_default_what_it_does_not_set() -> None:
    site = cluster(
        default={"gpus": "h100:8", "partition": "gpu", "time": "1-00:00:00", "setup": ["a"],
                 "extra": {"gres": "gpu:1", "nice": "5"}},
        label={"gpus": 1, "setup": [], "partition": None, "workers": 4},
        small={"time": 45},
    )  # fmt: skip
    assert site.job("train").gpus == "h100:8" and site.job("train").minutes == 1440
    label = site.job("label")
    assert (label.gpus, label.setup, label.partition, label.workers) == (1, (), "gpu", 4)
    assert (site.job("small").minutes, site.job("cut").minutes) == (45, 1440)
    for name in ("cut", "small"):  # CPU work on CPUs, by whichever key `default` asks for GPUs
        assert (site.job(name).gpus, site.job(name).extra) == (0, {"nice": "5"})  # type: ignore[arg-type]
    assert cluster(default={"gpus": 8}, cut={"gpus": 1}).job("cut").gpus == 1


@pytest.mark.parametrize(
    ("given", "minutes"),
    [(90, 90), ("90", 90), ("24:00:00", 1440), ("1-00:00:00", 1440), ("2-12", 3600), ("45:30", 46), ("1-0:30", 1470)],
)
def test_times(config: CampaignConfig, given: object, minutes: int) -> None:
    job = cluster(train={"time": given}).job("train")
    assert job.minutes == minutes
    assert f"#SBATCH --time={minutes}\n" in script(RunFolder.of(config), config.name, "train", job)


@pytest.mark.parametrize("given", ["64G", "512M", "1T", "480GB"])
def test_memory_is_given_to_slurm_as_it_was_written(config: CampaignConfig, given: str) -> None:
    job = cluster(default={"mem": given}).job("label")
    assert f"#SBATCH --mem={given}\n" in script(RunFolder.of(config), config.name, "label", job)


@pytest.mark.parametrize(
    ("blocks", "told"),
    [
        ({"train": {"time": "24:00"}}, "'train.time': at least 30 minutes.*24:00 is 24 minutes, 24:00:00 a day"),
        ({"train": {"time": 5}}, "'train.time': at least 30 minutes"),
        ({"train": {"time": "1 day"}}, "'train.time': a time is what SLURM writes"),
        ({"train": {"time": 1.5}}, "'train.time': a time is what SLURM writes"),
        ({"train": {"mem": 64}}, "'train.mem': memory is a whole number and a unit"),
        ({"train": {"mem": "64 gigs"}}, "'train.mem'"),
        ({"train": {"gpus": "h100"}}, "'train.gpus': GPUs are a number, or a type and a number"),
        ({"train": {"gpus": True}}, "'train.gpus'"),
        ({"train": {"gpus": -1}}, "'train.gpus'"),
        ({"label": {"retry": {"time": "10"}}}, "'label.retry.time': at least 30"),
        ({"label": {"retry": {"gpus": 2}}}, "'label.retry.gpus'.*Allowed here: mem, time"),
        ({"lable": {}}, "'lable'. Did you mean 'label'"),
        ({"label": {"binds": ["/data"]}}, "label: binds without a container"),
        ({"default": {"container": ["podman", "run", "x"]}, "label": {"binds": ["/d"]}}, "label: .*begins with 'podman'"),
    ],
)  # fmt: skip
def test_refusals_are_one_line_that_names_the_key(blocks: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told) as refused:
        cluster(**blocks)
    assert "\n" not in str(refused.value) and str(refused.value).startswith("site.yaml: ")


def test_only_what_was_set_is_recorded(tmp_path: Path, make_campaign) -> None:
    path = make_campaign(cluster={"executor": "local", "default": {"time": "2:00:00"}, "label": {"workers": 3}})
    config = load_campaign(path, ["cluster.train.gpus=h100:8"])
    dump_config(config, tmp_path / "campaign.yaml")
    recorded = load_campaign(tmp_path / "campaign.yaml")
    assert recorded == config and recorded.cluster.model_dump(mode="json") == {
        "executor": "local",
        "default": {"time": "2:00:00"},
        "train": {"gpus": "h100:8"},
        "label": {"workers": 3},
        "retries": 3,
        "replan": "job",
    }
    later = load_campaign(tmp_path / "campaign.yaml", ["cluster.default.partition=x"]).cluster
    assert {later.job(name).partition for name in BLOCKS} == {"x"}


def test_interpreter_container_and_binds(config: CampaignConfig) -> None:
    site = cluster(
        default={"container": ["/usr/bin/apptainer", "-q", "exec", "--nv", "my image.sif"], "binds": ["/d ata:/data:ro", "/s"]},
        small={"container": [], "binds": [], "python": "/env/bin/python"},
        label={"python": "/opt/venv/bin/python"},
    )  # fmt: skip

    def words(name: str) -> list[str]:
        text = script(RunFolder.of(config), config.name, name, site.job(name))  # type: ignore[arg-type]
        line = next(line for line in text.splitlines() if line.startswith("srun "))
        found = shlex.split(line)
        return found[found.index("--cpus-per-task=1") + 1 : found.index("-u")]

    bound = ["--bind", "/d ata:/data:ro", "--bind", "/s"]
    assert words("label") == [
        "/usr/bin/apptainer",
        "-q",
        "exec",
        *bound,
        "--nv",
        "my image.sif",
        "/opt/venv/bin/python",
    ]
    assert words("train")[-1] == sys.executable
    assert words("small") == ["/env/bin/python"]


def test_attempts_after_a_failure_ask_for_more(config: CampaignConfig) -> None:
    job = cluster(default={"mem": "64G", "time": 60, "retry": {"mem": "128G"}}).job("label")
    assert (job.again().mem, job.again().minutes, job.mem) == ("128G", 60, "64G")
    label = next(phase for phase in build_graph(config) if phase.kind == "label")
    plans = [JobPlan(1, "person", {}, {"label-1": "new"}), JobPlan(2, "replan", {}, {"label-1": "failed"})]
    assert not has_failed([], MissingPhase(label, "new"))
    assert not has_failed(plans[:1], MissingPhase(label, "interrupted"))
    assert has_failed(plans[:1], MissingPhase(label, "lost")) and has_failed(plans[:1], MissingPhase(label, "failed"))
    assert has_failed(plans, MissingPhase(label, "interrupted")), "it was interrupted while it had more"
    edited = [*plans, JobPlan(3, "person", {}, {"label-1": "new"})]
    assert not has_failed(edited, MissingPhase(label, "interrupted"))


def test_a_site_of_8_gpus_gives_none_to_cpu_work(tmp_path: Path, capsys, make_campaign) -> None:
    """By the cluster file that we ship; the kinds that label and train ask for GPUs, and theirs are the only GPU hours."""
    site = PROJECT / "configs/clusters/slurm-gpu.yaml"
    config = make_campaign(styled=True, cluster={"executor": "local"})
    words = ["cluster.train.nodes=1", "train.micro_batches_per_step=8"]
    campaign = load_campaign(config, words, site=site)
    blocks = {phase.name: (block_of(campaign, phase), job_of(campaign, phase).gpus) for phase in build_graph(campaign)}
    assert blocks == {
        "slides": ("cut", 0),
        "shards": ("cut", 0),
        "generators": ("style", 1),
        "style": ("style", 1),
        "base": ("train", 8),
        "label-1": ("label", 1),
        "master-1": ("train", 8),
        "evaluate": ("evaluate", 1),
        "report": ("small", 0),
    }
    assert campaign.cluster.job("small").gpus == 0  # merges and planning again
    assert main(["plan", str(config), "--cluster", str(site), "--json", *words]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["phases"]}
    assert {name: (row["block"], row["resources"]["gpus"]) for name, row in rows.items()} == blocks
    assert {name for name, row in rows.items() if row["expected"]["gpu_hours"] == 0} == {"slides", "shards", "report"}


def test_cluster_files_by_name(tmp_path: Path, make_campaign, capsys) -> None:
    config = make_campaign(cluster={"executor": "local", "train": {"nodes": 2}}, extends=[])
    raw = config.read_text().replace(
        "extends: []", f"extends: [{PROJECT}/configs/classes/breast.yaml, clusters/old.yaml]"
    )
    config.write_text(raw)
    (tmp_path / "clusters").mkdir()
    (tmp_path / "clusters" / "old.yaml").write_text("cluster: {label: {workers: 9}, default: {partition: old}}\n")
    (tmp_path / "clusters" / "mysite.yaml").write_text(
        "cluster: {default: {partition: mine}, train: {nodes: 7, time: 12:00:00}}\ntrain: {cache_dir: /scratch, workers: 5}\n"
    )
    assert load_campaign(config).cluster.job("label").workers == 9
    assert main(["plan", str(config), "--json", "--cluster", "mysite"]) == 0
    capsys.readouterr()
    for name in ("mysite", str(tmp_path / "clusters" / "mysite.yaml")):
        found = load_where(config, ["cluster.label.partition=theirs"], name)
        job = found.cluster.job
        assert (job("train").partition, job("train").nodes, job("train").time) == ("mine", 2, "12:00:00")
        assert (job("label").partition, job("label").workers) == ("theirs", 1)
        assert found.train.cache_dir == Path("/scratch") and found.train.workers == 1
    assert main(["plan", str(config), "--cluster", "mysit"]) == 2
    told = capsys.readouterr().err
    assert "no cluster 'mysit'" in told and "There are: " in told and "mysite" in told and told.count("\n") == 1
    assert main(["plan", str(config), "--cluster", str(tmp_path / "nowhere.yaml")]) == 2
    assert "no such cluster file" in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted((PROJECT / "configs/clusters").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_cluster_files_that_we_ship(path: Path, config: CampaignConfig, config_path: Path) -> None:
    loaded = load_campaign(config_path, ["cluster.train.nodes=1"], site=path)
    for name in BLOCKS:
        assert script(RunFolder.of(config), loaded.name, name, loaded.cluster.job(name))
    assert loaded.cluster.job("cut").gpus == loaded.cluster.job("small").gpus == 0
