"""What a request holds is what was asked for; a block that no phase uses troubles no run."""

import stat
from pathlib import Path

import pytest

from launch.prediction.queue import elements_for
from launch.prediction.request import folder_of, make_request, read_request, write_request
from launch.resources.blocks import ClusterConfig, JobConfig
from mlseg_core.config import validate
from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import Unit
from mlseg_dist.prediction.plan import Prediction
from shards.slide_table import Slide
from tests.mlseg_dist.bundle.test_card import PATIENTS, teacher
from tests.mlseg_dist.evaluation.made_counts import made_evaluation


def cluster(**predict: object) -> ClusterConfig:
    return validate({"default": {"time": "2:00:00", "gpus": "h100:1"}, "predict": predict}, ClusterConfig, "test")


def units(folder: Path, names: tuple[str, ...] = ("a", "b c")) -> list[Unit]:
    of = teacher(made_evaluation(PATIENTS))
    slides = [Slide(folder / f"{name}.svs", "", "ER", "", "", "", None, 0.5, None, None, True) for name in names]
    return [Unit(f"{s.slug}-12345678", "key", Prediction(of, s, "w2:id", True), 3.5) for s in slides]


def test_a_request_gives_the_units_back_and_the_resources(tmp_path) -> None:
    todo, site = units(tmp_path), cluster(workers=3, retry={"mem": "8G"})
    run = folder_of(todo, tmp_path / "out")
    write_request(run, make_request(todo, tmp_path / "out", site))
    found = read_request(run)
    expected = make_request(todo, tmp_path / "out", site)
    assert found == expected and found.cluster.job("predict") == site.job("predict")
    for ours, theirs in zip(todo, found.units(), strict=True):
        assert (ours.name, ours.inputs, ours.cost) == (theirs.name, theirs.inputs, theirs.cost)
        assert ours.payload.slide == theirs.payload.slide and ours.payload.identity == theirs.payload.identity
        assert ours.payload.teacher.config == theirs.payload.teacher.config and theirs.payload.everywhere


def test_set_up_lines_are_for_their_owner_alone(tmp_path) -> None:
    todo = units(tmp_path)
    for setup, mode in ((["export TOKEN=1"], 0o600), ([], 0o644)):
        run = folder_of(todo, tmp_path / f"out-{mode}")
        write_request(run, make_request(todo, tmp_path, cluster(setup=setup)))
        found = stat.S_IMODE((run.path / "request.json").stat().st_mode)
        assert found == mode or (mode == 0o644 and found & 0o600 == 0o600)


def test_other_slides_get_another_folder_and_the_order_does_not_matter(tmp_path) -> None:
    first, second = units(tmp_path)
    folders = {folder_of(each, tmp_path).path for each in ([first, second], [second, first], [first])}
    assert len(folders) == 2
    with pytest.raises(UserError, match=r"line break, which job logs cannot carry.*--out"):
        folder_of([first], tmp_path / "100%")


@pytest.mark.parametrize(
    ("workers", "tasks", "slides", "elements"), [(8, 1, 3, 3), (8, 4, 9, 3), (2, 1, 9, 2), (4, 2, 1, 1)]
)
def test_there_are_no_more_jobs_than_slides(tmp_path, workers, tasks, slides, elements) -> None:
    site = cluster(workers=workers, tasks_per_node=tasks)
    assert elements_for(make_request(units(tmp_path), tmp_path, site), slides) == elements


def test_the_block_is_no_part_of_what_a_campaign_uses() -> None:
    assert cluster(workers=3).settled() == cluster(workers=4).settled()
    assert cluster(workers=3).job("predict").gpus == "h100:1" and "predict" not in ClusterConfig().model_dump()
    assert "predict" not in cluster(workers=3).model_copy(update={"predict": JobConfig()}).model_dump()
