"""Who trains on how many GPUs: what the paper's batch allows is accepted, what it does not is refused before anything starts."""

import json
from pathlib import Path

import pytest

from launch.checks import check_ranks, training_ranks
from launch.cli import main
from launch.config import load_campaign
from launch.run_folder import RunFolder
from tests.launch.conftest import tiny_campaign
from tests.shards.slides_for_tests import HEADER, square_feature, tissue_slide, write_annotation, write_slide

CONFIGS = Path(__file__).parents[2] / "configs"
EIGHT = ["cluster.train.tasks_per_node=8", "cluster.train.gpus=8"]
REASON = "8 ranks cannot share 16 samples evenly: they are 4 quads of 2 tumour, 1 normal and 1 others, which stay whole"


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four slides at 0.5 µm/px, the train split's from two scanners, as GAN style wants them. Returns their table."""
    folder = tmp_path_factory.mktemp("slides")
    write_annotation(
        folder / "a.geojson",
        *(
            square_feature(name, at, at, at + 80, at + 80)
            for name, at in (("Tumor", 60), ("DCIS", 160), ("Stroma", 250))
        ),
    )
    lines = [HEADER]
    for number, split in enumerate(("train", "train", "val", "test")):
        write_slide(folder / f"s{number}.tif", tissue_slide(number, side=400), mpp=0.5, levels=1)
        lines.append(f"s{number}.tif,P{number},ER,scanner {number % 2},DS1,{split},a.geojson,,\n")
    (folder / "slides.csv").write_text("".join(lines))
    return folder / "slides.csv"


@pytest.mark.parametrize(
    ("name", "words", "ranks"),
    [
        ("paper", [], "4 ranks share 16 pairs a step: 4 on each rank at once, and the loss is over all of them"),
        ("paper-8", [], "8 ranks share 32 pairs a step: 4 on each rank at once, and the loss is over all of them"),
        (
            "paper",
            ["cluster.train.tasks_per_node=1", "cluster.train.gpus=1"],
            "1 rank shares 16 pairs a step: 16 on each rank at once, and the loss is over all of them",
        ),
        ("recommended", [], "4 ranks share 4 micro-batches: 16 pairs a step"),
    ],
)
def test_the_papers_campaigns_are_ready_as_far_as_this_machine_can_know(tmp_path, capsys, slides, name, words, ranks):
    """Without a GPU: torch may be a build without, and DALI may not be installed; that is said, and nothing else is bad."""
    where = [str(CONFIGS / f"{name}.yaml"), f"slides={slides}", f"runs={tmp_path}", *words]
    assert main(["plan", *where, "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert not planned["problem"] and "base" in [phase["name"] for phase in planned["phases"]]
    main(["preflight", *where, "--json", "cluster.executor=local"])
    found = json.loads(capsys.readouterr().out)["checks"]
    assert {row["name"] for row in found if row["mark"] == "bad"} <= {"torch", "DALI"}, found
    assert {"config", "ranks", "slides", "styles"} <= {row["name"] for row in found if row["mark"] == "ok"}
    assert ranks in [row["seen"] for row in found]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["plan", "run", "rehearse"])
def test_sixteen_samples_on_eight_gpus_are_refused_before_anything_is_submitted(tmp_path, capsys, slides, command):
    where = [str(CONFIGS / "paper.yaml"), f"slides={slides}", f"runs={tmp_path}", "cluster.executor=local", *EIGHT]
    assert main([command, *where]) == 2
    said = capsys.readouterr().err
    assert f"train.micro_batches_per_step: {REASON}" in said and said.count("\n") == 1
    assert "Use 1, 2, 4 ranks, or 8 micro-batches: 32 samples a step (configs/paper-8.yaml" in said
    assert not list(tmp_path.iterdir())


def test_preflight_refuses_them_too(tmp_path, capsys, slides):
    where = [str(CONFIGS / "paper.yaml"), f"slides={slides}", f"runs={tmp_path}", "cluster.executor=local", *EIGHT]
    assert main(["preflight", *where, "--json"]) == 2
    (row,) = [
        row for row in json.loads(capsys.readouterr().out)["checks"] if row["name"] == "config" and row["mark"] == "bad"
    ]
    assert REASON in row["seen"] and "paper-8.yaml" in row["fix"]


def test_what_the_config_asks_for_counts_where_the_campaign_will_run(tmp_path):
    """On SLURM all nodes, even if planned where there is none; on this machine the GPUs of one node, or else all ranks."""
    two_nodes = ["cluster.train.nodes=2", "cluster.train.tasks_per_node=4"]

    def ranks(executor: str, gpus: int) -> int:
        words = [*two_nodes, f"cluster.executor={executor}", f"cluster.train.gpus={gpus}"]
        return training_ranks(load_campaign(tiny_campaign(tmp_path), words))

    assert (ranks("slurm", 4), ranks("slurm", 0), ranks("local", 4), ranks("local", 0)) == (8, 8, 4, 8)


def test_a_campaign_that_has_nothing_left_to_train_is_not_refused(tmp_path):
    config = load_campaign(tiny_campaign(tmp_path), ["train.micro_batches_per_step=1"])
    run = RunFolder.of(config)
    for number, name in ((2, "base"), (4, "master-1")):
        with pytest.raises(Exception, match="2 ranks cannot share 1 micro-batches"):
            check_ranks(config)
        folder = run.path / "phases" / f"{number:02d}-{name}"
        folder.mkdir(parents=True)
        (folder / "done.json").write_text("{}")
    check_ranks(config)
