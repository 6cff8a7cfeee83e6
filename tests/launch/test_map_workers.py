"""A map's workers are numbered through: element of the array x processes of a job + rank."""

from pathlib import Path

import pytest

from launch.campaign import prepare
from launch.config import CampaignConfig, load_campaign
from launch.graph import build_graph
from launch.local.console import Console
from launch.local.liveness import local_planner
from launch.local.run import LocalJob
from launch.resources.blocks import JobConfig
from launch.run_folder import RunFolder


@pytest.mark.parametrize(
    ("settings", "workers"),
    [
        ({"workers": 3}, 3),
        ({"workers": 3, "tasks_per_node": 2}, 6),
        ({"workers": 2, "nodes": 2, "tasks_per_node": 4}, 16),
    ],
)
def test_workers_of_a_map(settings: dict[str, int], workers: int) -> None:
    assert JobConfig(**settings).map_workers == workers


def test_here_as_many_work_as_on_slurm_and_each_has_its_own_progress(config_path: Path) -> None:
    config: CampaignConfig = load_campaign(config_path, ["cluster.cut.workers=2", "cluster.cut.tasks_per_node=2"])
    prepare(config)
    run, slides = RunFolder.of(config), build_graph(config)[0]

    class Never:
        asked = False

    with local_planner(run.path) as token:
        job = LocalJob(run, config, slides, "both", token)
        assert job.size == 4
        console = Console()
        console.begin(slides, 7)
        try:
            assert job.wait(console, Never()) == 0  # type: ignore[arg-type]
        finally:
            console.close()
    numbers = sorted(path.stem for path in (run.data / "slides" / "progress").glob("[0-9]*.json"))
    assert numbers == ["0", "1", "2", "3"]
    assert len(list((run.phase(slides) / "tasks").glob("both-*.json"))) == 4
