"""plan: costs from measured rates, at a stated size; the picture; what no rate is known of stays unknown."""

import json
from pathlib import Path

import pytest

from launch.cli import main
from launch.config import CampaignConfig, load_campaign
from launch.estimate.amounts import Amounts, training_steps
from launch.estimate.costs import Cost, add_up, cost_of
from launch.estimate.rates import Rate, choose, keep, measured, network_of, read
from launch.graph import Phase, build_graph
from launch.graph_picture import PhaseBox, draw
from launch.run_folder import RunFolder
from mlseg_core.errors import UserError
from mlseg_core.files import write_json
from mlseg_core.progress import Tally


def phase_of(config: CampaignConfig, name: str) -> Phase:
    return next(phase for phase in build_graph(config) if phase.name == name)


@pytest.fixture
def amounts(config: CampaignConfig) -> Amounts:
    names = [phase.name for phase in build_graph(config)]
    return Amounts(4, {"train": 600, "val": 200}, 400, True, dict.fromkeys(names, 1000))


def trained(config: CampaignConfig, run: RunFolder, name: str, pairs_s: float, seconds: float) -> None:
    """What training on two ranks leaves of its speed: ten steps of eight pairs."""
    phase = phase_of(config, name)
    folder = run.phase(phase)
    lines = [{"kind": "order", "step": 0}]
    lines += [{"kind": "train", "step": step, "pairs_s": 1.0 if step == 1 else pairs_s} for step in range(1, 11)]
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run.events(phase).log("started", "2 ranks", "info", ranks=2)
    write_json(folder / "done.json", {"seconds": seconds, "outputs": {"sha256": ""}})


def test_training_is_expected_at_its_own_speed_and_that_of_more_ranks(config_path, config, amounts) -> None:
    run = RunFolder.of(config)
    trained(config, run, "base", pairs_s=40.0, seconds=12.0)
    (rate,) = measured(config, build_graph(config), run)
    assert (rate.per_s, rate.members, rate.overhead_s) == (20.0, 2, 10.0)

    steps = training_steps(config, config.steps[0], amounts)
    assert steps == round(0.1 * 64 / 8)
    cost = cost_of(config, phase_of(config, "base"), amounts, [rate])
    assert (cost.work, cost.members, cost.wall_s) == (8 * steps, 2, 8 * steps / 40 + 10)
    four = load_campaign(config_path, ["cluster.train.nodes=4", "cluster.train.gpus=2", "train.epoch_draws=8000"])
    cost = cost_of(four, phase_of(four, "base"), amounts, [rate])
    assert (cost.work, cost.wall_s) == (800, 800 / 80 + 10)
    assert cost.gpu_hours == pytest.approx(20 * 8 / 3600)


def test_a_phase_takes_the_rate_of_its_network_and_no_other(config_path, config, amounts) -> None:
    base, master = phase_of(config, "base"), phase_of(config, "master-1")
    rates = [
        Rate("other", "train", "pairs", 5.0, 1, 0, network_of(config, base)),
        Rate("elsewhere", "train", "pairs", 3.0, 1, 0, "another network"),
    ]
    assert choose(rates, config, base) == rates[0]
    assert choose(rates, config, master) is None
    cost = cost_of(config, master, amounts, rates)
    assert (cost.wall_s, cost.gpu_hours, cost.bytes) == (None, 0.0, 1000)  # no rate, and no GPUs
    own = Rate("base", "train", "pairs", 7.0, 1, 0, network_of(config, base))
    assert choose([own, *rates], config, base) == own
    larger = load_campaign(config_path, ["train.patch_px=96"])
    assert choose(rates, larger, phase_of(larger, "base")) is None


def test_a_maps_rate_is_that_of_its_workers(config: CampaignConfig) -> None:
    run, phase = RunFolder.of(config), phase_of(config, "label-1")
    folder = run.data / "labels-1"
    write_json(run.phase(phase) / "done.json", {"seconds": 1.0})
    write_json(folder / "manifest.json", {"totals": {"samples": 100, "shards": 10, "bytes": 1}})
    for worker, rate in enumerate((2.0, 1.0, 0.0)):  # the third came when all was done
        write_json(folder / "progress" / f"{worker}.json", vars(Tally("shards", 10, 10, rate, "", 0.0)))
    (rate,) = measured(config, build_graph(config), run)
    assert (rate.unit, rate.per_s, rate.members) == ("pairs", 15.0, 2)


def test_rates_survive_their_file(config: CampaignConfig, tmp_path: Path) -> None:
    run = RunFolder.of(config)
    rates = [Rate("base", "train", "pairs", 7.5, 2, 0.5, "n"), Rate("report", "report", "", 0.0, 1, 0, seconds=3.0)]
    keep(run, rates)
    assert read(run.path / "rates.json") == rates
    write_json(tmp_path / "no.json", {"rates": [{"speed": 3}]})
    with pytest.raises(UserError, match="not a file of rates"):
        read(tmp_path / "no.json")


def test_totals_are_unknown_as_soon_as_one_phase_is(config: CampaignConfig) -> None:
    known = Cost(1, "pairs", 1, 1.0, 10.0, 0.5, 100)
    unknown = Cost(1, "pairs", 1, None, None, None, 100)
    assert add_up([known, known]) == (20.0, 1.0, 200)
    assert add_up([known, unknown]) == (None, None, 200)


def test_plan_shows_costs_and_takes_rates_of_another_run(config_path: Path, config: CampaignConfig, capsys) -> None:
    other = RunFolder(config_path.parent / "other")
    keep(other, [Rate("base", "train", "pairs", 4.0, 1, 0, network_of(config, phase_of(config, "base")))])
    words = ["plan", str(config_path), "--rates", str(other.path / "rates.json")]
    assert main([*words, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    expected = {phase["name"]: phase["expected"] for phase in shown["phases"]}
    assert expected["base"]["wall_s"] == 8 / 8  # one step of eight pairs, two ranks of four pairs/s
    assert expected["master-1"]["wall_s"] is None and expected["master-1"]["bytes"] > 0
    assert shown["left"]["wall_s"] is None
    assert not config.folder.exists()
    assert main(words) == 0
    table = capsys.readouterr().out
    assert "no rate measured yet" in table and "at most" in table


def test_plan_without_slides_shows_the_graph_and_says_why_costs_are_unknown(make_campaign, capsys) -> None:
    config = make_campaign(phantom=None, slides="missing.csv")
    assert main(["plan", str(config)]) == 2
    shown = capsys.readouterr()
    assert "00 shards" in shown.out and shown.err.count("\n") == 1
    assert (
        shown.err.startswith("mlseg: error: what it will take is unknown: ")
        and "missing.csv: no such slide table" in shown.err
    )
    assert main(["plan", str(config), "--json"]) == 2
    assert "missing.csv: no such slide table" in json.loads(capsys.readouterr().out)["problem"]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_table_says_what_each_phase_asks_for_at_any_width(
    config_path: Path, width: int, capsys, monkeypatch
) -> None:
    """A site with 8 GPUs: CPU work is on CPUs."""
    monkeypatch.setenv("COLUMNS", str(width))
    site = config_path.parent / "mysite.yaml"
    site.write_text(
        "cluster: {default: {gpus: 8, time: 1-12:00:00}, cut: {workers: 64, time: 45},"
        " label: {workers: 4, nodes: 2, gpus: 'a100:2'}}\n"
    )
    words = ["plan", str(config_path), "--cluster", str(site), "cluster.default.workers=8", "cluster.train.nodes=2"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= max(width, len(lines[0])), lines
    found = {line.split()[1]: " ".join(line.split()[2:]) for line in lines if line[:2].isdigit()}
    assert found["slides"].startswith("cut array of 64 – 45m"), found
    assert found["shards"].startswith("cut array of 64 – 45m"), found
    assert found["base"].startswith("train 2 × 1 16 1d 12h"), found
    assert found["label-1"].startswith("label array of 4, 2 × 1 16 a100 1d 12h"), found
    assert found["report"].startswith("small 1 × 1 – 1d 12h"), found
    titles = set(lines[1].split())
    assert {"block", "GPUs", "limit"} <= titles and ("writes" in titles or width < 200), titles
    missed = next((line for line in lines if "no room for: work" in line), "")
    assert bool(missed) == ("work" not in titles) and (missed or width > 60), lines


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_picture_names_every_phase_and_its_state(config: CampaignConfig, tmp_path: Path, suffix: str) -> None:
    states = ["done", "done", "failed", "waiting", "waiting", "waiting", "waiting"]
    nodes = [PhaseBox(phase, state, "1:23") for phase, state in zip(build_graph(config), states, strict=True)]
    out = tmp_path / f"graph{suffix}"
    draw(nodes, "a $title$ with 50 %", out)
    assert list(tmp_path.glob("graph*")) == [out] and not list(tmp_path.glob(".tmp-*"))
    data = out.read_bytes()
    if suffix == ".png":
        assert data.startswith(b"\x89PNG")
    else:
        text = data.decode()
        for colour in ("#8fce9b", "#e88f8a", "#e6e6e6"):
            assert colour in text
        assert all(f"<!-- {node.phase.name} -->" in text for node in nodes)


def test_a_picture_format_that_is_none(config_path: Path, capsys) -> None:
    assert main(["plan", str(config_path), "--graph", "graph.doc"]) == 2
    assert "no picture format '.doc'" in capsys.readouterr().err


def test_each_process_of_a_maps_job_counts_as_a_worker_and_its_gpus_as_the_nodes(config_path, config, amounts) -> None:
    """4 elements of 2 nodes with 2 tasks and 2 GPUs each: 16 workers on 16 GPUs."""
    label = phase_of(config, "label-1")
    words = [f"cluster.label.{word}" for word in ("workers=4", "nodes=2", "tasks_per_node=2", "extra={gres: 'gpu:2'}")]
    many = load_campaign(config_path, words)
    rate = Rate("label-1", "label", "pairs", 5.0, 1, 1.0, network_of(config, label))
    cost = cost_of(many, label, amounts, [rate])
    assert (cost.members, cost.per_s, cost.wall_s) == (16, 80.0, 600 / 80)
    assert cost.gpu_hours == pytest.approx(600 / 80 * 16 / 3600)
    run = RunFolder.of(many)
    write_json(run.phase(label) / "done.json", {"seconds": 1.0})
    write_json(run.data / "labels-1" / "manifest.json", {"totals": {"samples": 100, "shards": 10, "bytes": 1}})
    write_json(run.data / "labels-1" / "progress" / "0.json", vars(Tally("shards", 10, 10, 2.0, "", 0.0)))
    (measured_rate,) = measured(many, build_graph(many), run)
    assert (measured_rate.per_s, measured_rate.gpus) == (20.0, 1.0)
