"""What macOS, NFS, editors and people leave beside our records stops no command, and changes nothing that a command says."""

import time
from pathlib import Path

import pytest

from launch.alerts.delivery import FOLDER, unsent
from launch.cli import main
from launch.completion import survey
from launch.config import load_campaign
from launch.graph import build_graph
from launch.run_folder import RunFolder, code_hash, package_folders
from launch.slurm.job_plans import JobPlan, publish_plan, read_plans
from launch.slurm.nodes import avoid, avoided
from launch.sweep.rows import rows_of
from mlseg_core.config import dump_config
from mlseg_core.exactly_once.records import Done, Failed, own_failures, read_all_done, write_record
from mlseg_core.files import write_json
from mlseg_core.progress import read_tallies
from mlseg_core.store import open_store
from mlseg_dist.training.checkpoint.layout import step_folders
from tests.launch.test_clean import finish
from tests.planted import plant_beside


@pytest.fixture
def run(config_path: Path) -> RunFolder:
    """A campaign that was planned on SLURM and has finished but for its last phases; with records of every kind."""
    config = load_campaign(config_path)
    run = RunFolder.of(config)
    run.path.mkdir(parents=True)
    dump_config(config, run.config_path)
    finish(config, run, "label-1")
    phases = build_graph(config)
    for phase in phases[:3]:
        run.write_task(phase, 0, part="work", job="12", status="done", pid=1, host="n1", begun=time.time() - 60)
        run.write_task(phase, 1, part="work", job="12", status="done", pid=2, host="n1", begun=time.time() - 50)
    publish_plan(run, JobPlan(1, "person", jobs={"base": {"work": "12"}}))
    publish_plan(run, JobPlan(2, "replan", jobs={"base": {"work": "13"}}))
    avoid(run, "n7", "it hung")
    store = open_store(run.data / "shards")
    write_record(store, Done("s1", "0" * 64, {"a.tar": {"bytes": 3, "sha256": ""}}, {}))
    write_record(store, Failed("s2", "no tissue", ""))
    (run.path / FOLDER).mkdir()
    write_json(run.path / FOLDER / "stopped.mail.1.json", {"host": "h", "title": "stopped", "failed": "no server"})
    for step in (10, 20):
        (run.phase(phases[2]) / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
    return run


def _read(run: RunFolder) -> dict[str, object]:
    """All that is read of the run's records."""
    config = run.config()
    store = open_store(run.data / "shards")
    graph = build_graph(config)
    return {
        "plans": read_plans(run),
        "avoided": avoided(run),
        "tasks": [run.tasks(phase) for phase in graph],
        "completions": [(c.phase.name, c.state) for c in survey(config, graph, run)],
        "done": read_all_done(store),
        "failed": own_failures(store),
        "unsent": unsent(run),
        "tallies": read_tallies(run.data / "shards" / "progress"),
        "steps": step_folders(run.phase(graph[2]) / "checkpoints"),
    }


def _answers(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> list[object]:
    said: list[object] = []
    for words in (["plan", str(run.path), "--json"], ["clean", str(run.path), "--rounds", "--dry-run", "--json"]):
        status, told = main(words), capsys.readouterr()
        said.append((words[0], status, told.out, told.err))
    said.append(main(["status", str(run.path)]))
    capsys.readouterr()
    return said


def test_what_lies_beside_our_records_is_not_read(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    before, answers = _read(run), _answers(run, capsys)
    assert len(before["plans"]) == 2 and len(before["tasks"][0]) == 2 and before["unsent"] and before["steps"]
    planted = plant_beside(run.path)
    assert len(planted) > 100
    assert _read(run) == before
    assert _answers(run, capsys) == answers
    assert all(path.exists() for path in planted)


def test_rows_of_a_sweep(tmp_path: Path) -> None:
    rows = tmp_path / "rows" / "s"
    rows.mkdir(parents=True)
    (tmp_path / "rows" / "other").mkdir()
    write_json(rows / "arm-1.json", {"version": 1, "slides": [], "config": "c"})
    plant_beside(tmp_path / "rows")

    class Arm:
        key, name, fingerprint, overrides = "arm-1", "arm", "c", ()

    assert len(rows_of([Arm()], rows)) == 1  # type: ignore[list-item]


def test_the_hash_of_the_code(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.py").write_text("x = 1\n")
    before = code_hash({"p": tmp_path / "p"})
    (tmp_path / "p" / "._a.py").write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / "p" / "a.py~").write_bytes(b"x = 2\n")
    assert code_hash({"p": tmp_path / "p"}) == before
    assert set(package_folders()) == {"launch", "mlseg_core", "mlseg_dist", "shards"}
