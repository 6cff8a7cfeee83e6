"""`mlseg wandb-follow` as a process of its own, on a campaign whose files grow and are cut back meanwhile."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from launch.config import load_campaign
from launch.graph import build_graph
from launch.run_folder import RunFolder
from mlseg_core.config import dump_config
from mlseg_core.files import write_json
from mlseg_dist.events import Events
from tests.mlseg_dist import wandb_files

ROOT = Path(__file__).parents[2]
DONE = {"seconds": 1.0, "host": "n1"}


def begin(config_path: Path) -> tuple[RunFolder, dict[str, Path]]:
    """A run folder as `mlseg run` makes it, no phase begun. Phase name -> folder."""
    config = load_campaign(config_path)
    run = RunFolder.of(config)
    run.path.mkdir(parents=True)
    dump_config(config, run.config_path)
    return run, {phase.name: run.phase(phase) for phase in build_graph(config)}


def follow(run: RunFolder, *words: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "launch.cli", "wandb-follow", str(run.path), *words]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**clean, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def line(step: int, loss: float) -> str:
    return json.dumps({"kind": "train", "step": step, "loss": loss, "time": round(time.time(), 3)}) + "\n"


def append(phase: Path, first: int, last: int, loss: float) -> None:
    phase.mkdir(parents=True, exist_ok=True)
    with open(phase / "metrics.jsonl", "a") as file:
        for step in range(first, last + 1):
            file.write(line(step, loss))


def finish(phase: Path, kind: str) -> None:
    write_json(phase / "done.json", {**DONE, "kind": kind, "ended": time.time()})


def wait_for(what, process: subprocess.Popen, seconds: float = 40):
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    return found


def test_it_follows_a_campaign_to_its_end(config_path):
    run, phases = begin(config_path)
    append(phases["base"], 1, 10, 1.0)
    process = follow(run, "--offline", "--every", "0.2")
    try:
        sent = phases["base"] / "wandb" / "sent-offline.json"
        wait_for(sent.exists, process)
        first = wandb_files.segments(phases["base"])
        text = (phases["base"] / "metrics.jsonl").read_text().splitlines(keepends=True)
        (phases["base"] / "metrics.jsonl").write_text("".join(text[:6]))  # back to step 6
        append(phases["base"], 7, 12, 2.0)
        Events(phases["base"]).log("stuck", "rank 3 says nothing", "error", rank=3)
        wait_for(lambda: wandb_files.segments(phases["base"]) != first, process)
        append(phases["master-1"], 1, 4, 3.0)
        teacher = {"weights": "teacher.pt", "sha256": "0" * 64, "step": 12, "miou": 0.5}
        write_json(phases["base"] / "teacher.json", teacher)
        for name, phase in phases.items():
            phase.mkdir(parents=True, exist_ok=True)
            finish(phase, "train" if name in ("base", "master-1") else "report")
        output, _ = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0 and f"all {len(phases)} phases are on W&B" in output
    losses = [r["train/loss"] for r in wandb_files.history(wandb_files.records(phases["base"]))]
    assert losses == [1.0] * 6 + [2.0] * 6, "what was taken back is gone, what came instead is there"
    assert [r["step"] for r in wandb_files.history(wandb_files.records(phases["master-1"]))] == [1, 2, 3, 4]
    ids, groups = set(), set()
    for name, phase in phases.items():
        (record,) = (r["run"] for r in wandb_files.records(phase) if r["type"] == "run")
        assert record["job_type"] == name
        ids.add(record["run_id"])
        groups.add(record["run_group"])
    assert len(ids) == len(phases) and groups == {"tiny"}
    found = wandb_files.records(run.path)
    assert [r["run"]["job_type"] for r in found if r["type"] == "run"] == ["campaign"], "and one run of the whole"
    assert [r["teacher/miou"] for r in wandb_files.history(found)] == [0.5]
    titles = [a["title"] for a in wandb_files.alerts(wandb_files.records(phases["base"]))]
    assert titles[-1].endswith("base: phase done")
    assert any(title.endswith("base: a rank is stuck") for title in titles)


def test_interrupted_it_leaves_whole_files_and_goes_on_later(config_path):
    run, phases = begin(config_path)
    append(phases["base"], 1, 3, 1.0)
    process = follow(run, "--offline", "--every", "0.2")
    wait_for((phases["base"] / "wandb" / "sent-offline.json").exists, process)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 75
    assert wandb_files.is_closed(wandb_files.records(phases["base"]))
    append(phases["base"], 4, 5, 1.0)
    again = follow(run, "--offline", "--once")
    again.communicate(timeout=60)
    assert again.returncode == 0
    assert [r["step"] for r in wandb_files.history(wandb_files.records(phases["base"]))] == [1, 2, 3, 4, 5]


def test_without_a_key_or_a_server_it_says_so(config_path, tmp_path):
    run, phases = begin(config_path)
    append(phases["base"], 1, 3, 1.0)
    home = {"HOME": str(tmp_path), "WANDB_BASE_URL": "http://127.0.0.1:9"}
    process = follow(run, "--once", **home)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2 and "no W&B key on this machine" in output
    process = follow(run, "--once", **home, WANDB_API_KEY="a1b2c3d4e5" * 4)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and "127.0.0.1:9 does not answer" in output
    assert not wandb_files.segments(phases["base"]) and "a1b2c3d4e5" not in output
