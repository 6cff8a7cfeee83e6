"""The campaign that faults are tried on, a minute long when nothing happens, and what can be seen of it from outside."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import checker
from tests.cluster.commands import is_quiet, mlseg, status
from tests.cluster.slurm_host import SlurmHost
from tests.launch.conftest import tiny_campaign

STEPS = 60
PATIENCE_S = 300.0
_TEND_S = 20.0
NAME = "tiny"
PHASES = ("slides", "shards", "base", "label-1", "master-1", "evaluate", "report")
MAPPED = {"slides": "slides", "shards": "shards", "label-1": "labels-1"}
"""Phases that are maps, and the folder of RUN/data that they fill."""
TRAINED = ("base", "master-1")


def write_config(folder: Path) -> Path:
    """Two ranks on two nodes, two workers; eight flips and turns make labelling last for seconds. FOLDER/broken: training's
    jobs end before they begin."""
    folder.mkdir(parents=True)
    train = {"nodes": 2, "setup": [f"[ ! -e '{folder}/broken' ] || exit 7"]}
    path = tiny_campaign(
        folder,
        cluster={"executor": "slurm", "default": {"workers": 2}, "train": train, "retries": 2},
        phantom={"size_um": 2000, "mpp": 2, "train": 4, "val": 1, "test": 1, "dev_unseen": 0, "final_unseen": 0},
        shards={"high_mpp": 2, "low_mpp": 8, "store_px": 96, "max_per_class": 6, "samples_per_shard": 12},
        evaluate={"splits": ["test"], "pictures": 0},
    )
    raw = yaml.safe_load(path.read_text())
    raw["train"] |= {
        "precision": "fp32",
        "checkpoint_every": 6,
        "epoch_draws": STEPS * 8,
        "health": {"beat_s": 0.5, "name_after_s": 8.0, "end_after_s": 14.0},
    }
    for step in raw["steps"]:
        step |= {"epochs": 1, "label": {"threshold": 0.35, "min_share_kept": 0.0, "tta": "d4", "sheet": 0}}
    path.write_text(yaml.safe_dump(raw))
    return path


class Campaign:
    """One campaign in a folder of its own. prepared: a finished one, whose maps before the first of `phases` it takes over."""

    def __init__(
        self, slurm: SlurmHost, folder: Path, prepared: "Campaign | None" = None, phases: Sequence[str] = ("base",)
    ) -> None:
        self.slurm, self.folder = slurm, folder
        self.config = write_config(folder)
        self.run = folder / "runs" / NAME
        if prepared is not None:
            first = min(map(PHASES.index, (*phases, "base")))
            for name in PHASES[:first]:
                shutil.copytree(prepared.data(name), self.data(name), symlinks=True)
                shutil.copytree(prepared.phase(name), self.phase(name), symlinks=True)

    def start(self, *overrides: str) -> None:
        """Raises AssertionError."""
        self.overrides = overrides
        answer = mlseg(self.slurm, "run", self.config, *overrides)
        assert answer.returncode == 0, answer.stderr + answer.stdout

    def phase(self, name: str) -> Path:
        return self.run / "phases" / f"{PHASES.index(name):02d}-{name}"

    def data(self, name: str) -> Path:
        """Where a map publishes."""
        return self.run / "data" / MAPPED[name]

    def is_done(self, name: str) -> bool:
        return (self.phase(name) / "done.json").exists()

    @property
    def plans(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted((self.run / "plans").glob("0*.json"))]

    def job(self, name: str, part: str = "work") -> str:
        """The id of the phase's newest job."""
        return next(plan["jobs"][name][part] for plan in reversed(self.plans) if name in plan["jobs"])

    def is_running(self, name: str, part: str = "work") -> bool:
        answer = self.slurm.run("squeue", "-h", "-t", "RUNNING", "-j", self.job(name, part), "-o", "%T")
        return "RUNNING" in answer

    def restarts(self, name: str) -> int:
        """Of the phase's newest job, over all its elements."""
        shown = self.slurm.run("scontrol", "show", "job", self.job(name))
        return sum(int(word.removeprefix("Restarts=")) for word in shown.split() if word.startswith("Restarts="))

    def step(self, name: str) -> int:
        """Optimizer steps done, by metrics.jsonl."""
        try:
            lines = (self.phase(name) / "metrics.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return 0
        return max((json.loads(line)["step"] for line in lines if line.endswith("}")), default=0)

    @property
    def labels(self) -> Path:
        return self.data("label-1")

    def recorded(self, name: str) -> int:
        """Units of a map that have a done record."""
        return len(list((self.data(name) / "done").glob("[!.]*.json")))

    def processes(self, name: str, part: str = "work") -> dict[int, int]:
        """Index -> pid of the phase's living processes, as they said themselves."""
        found = {}
        for path in (self.phase(name) / "tasks").glob(f"{part}-*.json"):
            task = json.loads(path.read_text())
            if task["status"] == "running" and is_alive(task["pid"], self.run):
                found[task["index"]] = task["pid"]
        return found

    def told(self, name: str, event: str) -> list[dict[str, Any]]:
        """Lines of the phase's events.jsonl."""
        path = self.phase(name) / "events.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in map(json.loads, lines) if line["event"] == event]

    def until(self, what: Callable[[], object], patience_s: float = PATIENCE_S, every_s: float = 0.02) -> None:
        """Raises TimeoutError with the campaign's status."""
        deadline = time.monotonic() + patience_s
        tend_at = time.monotonic() + _TEND_S
        while not what():
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing came of it in {patience_s:.0f} s:\n{self.said()}")
            if time.monotonic() > tend_at:
                self.slurm.tend()
                tend_at = time.monotonic() + _TEND_S
            time.sleep(every_s)

    def is_quiet(self) -> bool:
        """None of its jobs is left in the queue, not even one that waits."""
        ids = [int(job) for plan in self.plans for parts in plan["jobs"].values() for job in parts.values()]
        return bool(ids) and is_quiet(self.slurm, str(min(ids)))

    def finish(self) -> None:
        """Wait until nothing is left to run. Raises AssertionError unless all is done then."""
        self.until(self.is_quiet, 600, 0.5)
        shown = status(self.slurm, self.run)
        assert shown["done"], self.said()

    def ends(self) -> dict[str, Any]:
        """Hashes of the shards and each round's labels by file, and of each step's final weights; what these were found to do."""
        found: dict[str, Any] = {}
        for path in (
            self.data("shards") / "manifest.json",
            *sorted((self.run / "data").glob("labels-*/manifest.json")),
        ):
            shards = json.loads(path.read_text())["shards"]
            found[path.parent.name] = {shard["name"]: shard["sha256"] for shard in shards}
        for name in TRAINED:
            teacher = json.loads((self.phase(name) / "teacher.json").read_text())
            found[name] = (teacher["weights"], teacher["sha256"])
        found["evaluate"] = json.loads((self.phase("evaluate") / "evaluation.json").read_text())
        found["report"] = json.loads((self.run / "report" / "metrics.json").read_text())
        return found

    def counts(self) -> dict[str, tuple[int, int, int]]:
        return checker.count(self.run)

    def said(self) -> str:
        """For a person who has to find out what went wrong."""
        shown = json.dumps(status(self.slurm, self.run), indent=1) if (self.run / "campaign.yaml").exists() else ""
        logs = sorted(self.run.glob("phases/*/logs/*.out"), key=lambda path: path.stat().st_mtime)[-3:]
        logs += sorted(self.run.glob("plans/logs/*.out"))[-1:]
        ends = [f"--- {path}\n{path.read_text()[-1500:]}" for path in logs]
        return "\n".join([shown, str(self.slurm.jobs()), *ends])


def is_alive(pid: int, run: Path) -> bool:
    """True when the process lives and is one of this run's."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z" and os.fsencode(run) in environment


def job_processes(job: str) -> list[int]:
    """Pids of a SLURM job's own processes, without srun and shell."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            mine = f"SLURM_JOB_ID={job}".encode() in (path / "environ").read_bytes().split(b"\0")
            if mine and b"submitit.core._submit" in (path / "cmdline").read_bytes().split(b"\0"):
                found.append(int(path.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def open_files(pid: int) -> set[str]:
    """Paths that a process holds open."""
    found = set()
    try:
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            try:
                found.add(str(handle.readlink()))
            except FileNotFoundError:
                continue
    except (FileNotFoundError, ProcessLookupError):
        return set()
    return found


def by_hand(campaign: Campaign, name: str, after: str) -> "subprocess.Popen[bytes]":
    """A further worker of a map, which no plan knows: it does all units, beside those that SLURM starts after phase `after`."""
    code = campaign.run / "code"
    logs = campaign.phase(name) / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    environment = {
        **campaign.slurm.environment,
        "PYTHONPATH": str(code),
        "PYTHONSAFEPATH": "1",
        "OMP_NUM_THREADS": "1",
        "DS_ACCELERATOR": "cpu",
        "SUBMITIT_EXECUTOR": "local",
        "SUBMITIT_FOLDER": str(logs),
        "SUBMITIT_LOCAL_JOB_ID": "byhand",
    }
    call = f"""
import time
from pathlib import Path
from launch.job import run_job
import mlseg_dist.labelling.work  # all that takes time to load, while the phase before is still at it
while not Path({str(campaign.phase(after) / "done.json")!r}).exists():
    time.sleep(0.005)
run_job({str(campaign.run)!r}, {name!r}, "work", 0, 1)
"""
    with open(logs / "by-hand.out", "ab") as log:
        return subprocess.Popen([sys.executable, "-c", call], env=environment, stdout=log, stderr=log)
