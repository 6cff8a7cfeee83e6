"""The commands of an HPC user on a real SLURM: preflight with its jobs, site settings in the scripts, retry, why jobs wait."""

import getpass
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from launch.working_folder import lay_out
from tests.cluster.conftest import slurm, slurm_with_limits  # noqa: F401  (fixtures)
from tests.launch.conftest import tiny_campaign

pytestmark = pytest.mark.cluster
PROJECT = Path(__file__).parents[2]


def campaign(folder: Path, **cluster: object) -> Path:
    folder.mkdir(exist_ok=True)
    return tiny_campaign(
        folder, cluster={"executor": "slurm", "default": {"workers": 2}, "train": {"nodes": 2}, **cluster}
    )


def mlseg(host, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "launch.cli", *map(str, words)]
    return subprocess.run(command, cwd=PROJECT, env=host.environment, capture_output=True, text=True, check=False)


def preflight(host, *words: object) -> tuple[int, dict[str, dict[str, str]]]:
    answer = mlseg(host, "preflight", *words, "--json")
    return answer.returncode, {row["name"]: row for row in json.loads(answer.stdout)["checks"]}


def status(host, config: Path) -> dict:
    return json.loads(mlseg(host, "status", config, "--json").stdout)


def test_preflight_asks_slurm_and_looks_at_nodes(slurm, tmp_path: Path) -> None:  # noqa: F811
    config = campaign(tmp_path / "it's $(touch pwned)")
    code, found = preflight(slurm, config, "--node-job", "cluster.cut.partition=high")
    assert code == 0, json.dumps(found, indent=1)
    assert found["SLURM: array"]["seen"] == "2 workers; MaxArraySize is 1001"
    assert found["SLURM: train jobs"]["seen"].startswith("accepted: 2 × 1 tasks")
    assert "2 ranks met over gloo" in found["node: train jobs"]["seen"]
    assert "1 ranks met over gloo" in found["node: cut jobs"]["seen"]  # another partition: a job of its own
    assert not list(config.parent.glob("runs/*.preflight"))
    assert not list(PROJECT.glob("pwned")) and not list(tmp_path.rglob("pwned"))


def test_preflight_sees_that_jobs_may_not_submit_jobs(slurm, tmp_path: Path) -> None:  # noqa: F811
    wrapper = tmp_path / "bin" / "sbatch"
    wrapper.parent.mkdir()
    wrapper.write_text("#!/bin/sh\necho 'sbatch: error: not from a compute node' >&2\nexit 1\n")
    wrapper.chmod(0o755)
    single = {"setup": [f"export PATH={wrapper.parent}:$PATH"]}
    config = campaign(tmp_path / "campaign", small=single)
    code, found = preflight(slurm, config, "--node-job")
    row = found["node: small jobs"]
    assert code == 0 and row["mark"] == "warning" and "may not submit jobs (not from a compute node)" in row["seen"], (
        row
    )
    assert "cluster.replan=login" in row["fix"] and found["node: train jobs"]["mark"] == "ok"
    assert preflight(slurm, config, "--node-job", "cluster.replan=login")[1]["node: small jobs"]["mark"] == "ok"


@pytest.mark.parametrize(
    ("override", "row", "said", "fix"),
    [
        ("cluster.label.workers=1001", "SLURM: array", "MaxArraySize is 1001", "at most 1000"),
        ("cluster.train.partition=gpu", "SLURM: train jobs", "SLURM has no such partition", "low, high"),
        ("cluster.train.nodes=4", "SLURM: train jobs", "partition low has 3", "fewer"),
        ("cluster.label.retry={mem: 1T}", "SLURM: label jobs", "cluster.label.retry.mem=1T: ", "Ask for less"),
        ("cluster.small.gpus=8", "SLURM: small jobs", "no node of partition low has a GPU", "gpus=0"),
    ],
)
def test_what_slurm_would_refuse_is_bad(slurm, tmp_path, override: str, row: str, said: str, fix: str) -> None:  # noqa: F811
    code, found = preflight(slurm, campaign(tmp_path), override, "train.micro_batches_per_step=4")
    assert code == 2
    assert found[row]["mark"] == "bad", found
    assert said in found[row]["seen"] and fix in found[row]["fix"], found[row]


def test_run_refuses_what_preflight_would_before_anything_is_queued_or_written(slurm, tmp_path: Path) -> None:  # noqa: F811
    config = campaign(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for command, override, told in (
        (
            "run",
            "cluster.default.partition=gpu",
            "cluster.default.partition=gpu (cut): SLURM has no such partition. There are",
        ),
        (
            "rehearse",
            "cluster.evaluate.cpus_per_task=3",
            "cluster.evaluate.cpus_per_task=3: 1 tasks a node make 3 CPUs, and",
        ),
    ):
        answer = mlseg(slurm, command, config, override)
        assert answer.returncode == 2 and answer.stderr.startswith(f"mlseg: error: {told}"), answer.stderr
        assert answer.stderr.count("\n") == 1 and "SLURM said" not in answer.stderr
    words = mlseg(slurm, "run", config, "cluster.label.gpus=h100:8", "--verbose").stderr
    assert words.startswith(
        "mlseg: error: cluster.label.gpus=h100:8: no node of partition low has a GPU; SLURM said: "
    ), words
    assert sorted(tmp_path.rglob("*")) == before and not slurm.run("squeue", "-h", "-t", "PENDING,RUNNING,CONFIGURING")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_start_itself_as_a_job_with_the_sites_resources(slurm, tmp_path: Path) -> None:  # noqa: F811
    site = tmp_path / "mysite.yaml"
    site.write_text(
        "cluster: {default: {workers: 1, time: 1:00:00}, small: {partition: high, setup: [export SITE=1]}}\n"
    )
    config = campaign(tmp_path, default={}, small={"time": 31})
    words = ["bash", "slurm/master.sh", config, "--cluster", site, "--as-job", "name=it's $(touch pwned)"]
    environment = {**slurm.environment, "PATH": f"{Path(sys.executable).parent}:{slurm.environment['PATH']}"}
    answer = subprocess.run(
        list(map(str, words)), cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    job = answer.stdout.split()[3].rstrip(";")
    log = PROJECT / f"mlseg-master-{job}.log"
    try:
        assert slurm.run("squeue", "-h", "-t", "all", "-j", job, "-o", "%P|%l|%j").strip() == "high|31:00|mlseg-master"
        slurm.wait_for(lambda: "Follow it: mlseg status" in (log.read_text() if log.exists() else ""), 240, 1)
        run = tmp_path / "runs" / "it's $(touch pwned)"
        scripts = list(
            (run / "plans" / "logs").glob("*_submission.sh")
        )  # what the set-up lines hold is for their owner alone
        assert scripts and {mode(path) for path in (log, run / "campaign.yaml", *scripts)} == {0o600}
        assert mode(run / "plans" / "logs") == 0o700
        assert mlseg(slurm, "cancel", run).returncode == 0
    finally:
        log.unlink(missing_ok=True)
    assert not list(PROJECT.glob("pwned"))


def test_master_sh_is_submitted_from_any_folder(slurm, tmp_path: Path) -> None:  # noqa: F811
    """SLURM runs a copy from its spool, and knows by which path it was given. With an `mlseg` that shows its words."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "mlseg").write_text('#!/bin/sh\necho "$PWD" "$@"\n')
    (tmp_path / "bin" / "mlseg").chmod(0o755)
    project = tmp_path / "my project"
    lay_out(project)
    environment = {**slurm.environment, "PATH": f"{tmp_path / 'bin'}:{slurm.environment['PATH']}"}
    log = tmp_path / "master.log"
    words = ["sbatch", "--parsable", "-o", log, project / "slurm" / "master.sh", "--accept", "configs/demo.yaml"]
    subprocess.run(list(map(str, words)), cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    slurm.wait_for(lambda: log.exists() and log.read_text().endswith("\n"), 120, 1)
    assert log.read_text() == f"{project} run configs/demo.yaml --accept\n"


def test_a_retry_asks_for_more_memory_and_time(slurm, tmp_path: Path) -> None:  # noqa: F811
    broken = {"setup": ["exit 7"], "mem": "100M", "retry": {"mem": "200M", "time": "2:00:00"}}
    config = campaign(tmp_path, cut=broken, retries=1)
    answer = mlseg(slurm, "run", config)
    assert answer.returncode == 0, answer.stderr
    run = Path(status(slurm, config)["run"])
    slurm.wait_for(lambda: status(slurm, config)["alert"], 240, 2)
    asked = []
    for plan in sorted((run / "plans").glob("0*.json")):
        job = json.loads(plan.read_text())["jobs"]["slides"]["work"]
        lines = (run / "phases" / "00-slides" / "logs" / f"{job}_submission.sh").read_text().splitlines()
        asked.append([line for line in lines if line.startswith(("#SBATCH --mem", "#SBATCH --time"))])
    assert asked == [["#SBATCH --mem=100M", "#SBATCH --time=60"], ["#SBATCH --mem=200M", "#SBATCH --time=120"]]
    mlseg(slurm, "cancel", config)


def test_a_limit_of_jobs_is_seen_before_and_a_plan_over_it_leaves_nothing(slurm_with_limits, tmp_path: Path) -> None:  # noqa: F811
    """7 phases, of them 4 maps: 8 jobs, and 4 a worker."""
    host, user = slurm_with_limits, getpass.getuser()
    lab = {"account": "lab", "qos": "normal"}
    config = campaign(tmp_path, default={"workers": 9, **lab})
    code, found = preflight(host, config)
    assert code == 0 and found["SLURM: jobs at once"]["seen"] == "accepted: 44", found
    assert host.run("sacctmgr", "-i", "modify", "user", user, "set", "maxsubmitjobs=30")
    host.wait_for(lambda: "MaxSubmitJobs=30(" in host.run("scontrol", "show", "assoc_mgr", "flags=assoc"), 30)

    code, found = preflight(host, config)
    row = found["SLURM: jobs at once"]
    assert code == 2 and row["seen"] == "a plan queues 44; SLURM takes 30 now (AssocMaxSubmitJobLimit)", row
    assert "to at most 5: " in row["fix"] and "cluster.label.workers" in row["fix"], row
    over = mlseg(host, "run", config)
    assert over.returncode == 2 and "a plan queues 44; SLURM takes 30 now" in over.stderr, over.stderr
    assert over.stderr.count("\n") == 1 and not (tmp_path / "runs").exists()
    assert not host.run("squeue", "-h", "-t", "PENDING,RUNNING,CONFIGURING")

    fits = "cluster.default.workers=5"
    code, found = preflight(host, config, fits)
    assert code == 0 and found["SLURM: jobs at once"]["seen"] == "accepted: 28", found
    taken = mlseg(host, "run", config, fits)
    assert taken.returncode == 0, taken.stderr
    assert "lab|normal" in host.run("squeue", "-h", "-t", "all", "-o", "%a|%q")
    assert mlseg(host, "cancel", config).returncode == 0


def test_site_settings_reach_the_submitted_scripts(slurm, tmp_path: Path) -> None:  # noqa: F811
    """Read from the files that submitit handed to sbatch, one per kind of job."""
    site = {
        "account": "proj it's",
        "qos": "",
        "partition": "low",
        "time": 45,
        "setup": ["export SITE='a b'"],
        "extra": {"comment": "$(touch pwned) it's"},
    }
    jobs = {
        "cut": {**site, "workers": 2, "mem": "1G"},
        "train": {**site, "nodes": 2, "cpus_per_task": 2},
        "small": {**site, "time": "0:33:00"},
    }
    for job in jobs.values():
        del job["qos"]  # this SLURM keeps no accounting: it takes any account, and no qos
    config = campaign(tmp_path, **jobs)
    answer = mlseg(slurm, "run", config)
    assert answer.returncode == 0, answer.stderr
    run = Path(status(slurm, config)["run"])
    plan = json.loads((run / "plans" / "0001.json").read_text())
    assert mlseg(slurm, "cancel", config).returncode == 0
    jobs = plan["jobs"]
    scripts = {
        "cut": run / "phases" / "00-slides" / "logs" / f"{jobs['slides']['work']}_submission.sh",
        "train": run / "phases" / "02-base" / "logs" / f"{jobs['base']['work']}_submission.sh",
        "small": run / "phases" / "06-report" / "logs" / f"{jobs['report']['work']}_submission.sh",
    }
    for name, path in scripts.items():
        lines = path.read_text().splitlines()
        minutes = 33 if name == "small" else 45
        for line in ("--partition=low", "--account='proj it'\"'\"'s'", f"--time={minutes}"):
            assert f"#SBATCH {line}" in lines, (name, lines)
        assert "#SBATCH --comment='$(touch pwned) it'\"'\"'s'" in lines
        assert "export SITE='a b'" in lines
    assert "#SBATCH --nodes=2" in scripts["train"].read_text() and "#SBATCH --mem=1G" in scripts["cut"].read_text()
    shown = slurm.run("squeue", "-h", "-t", "all", "-o", "%P|%a|%l|%k")
    assert "low|proj it's|33:00|$(touch pwned) it's" in shown.splitlines(), shown
    assert not list(PROJECT.glob("pwned")) and not list(tmp_path.rglob("pwned"))


def test_retry_renews_the_budget_and_takes_the_dependents_along(slurm, tmp_path: Path) -> None:  # noqa: F811
    blocked, held = tmp_path / "blocked", tmp_path / "held"
    blocked.touch()
    held.touch()
    setup = [f"test ! -e '{blocked}' || exit 7"]
    first = {"workers": 2, "setup": [f"while test -e '{held}'; do sleep 0.2; done"]}
    config = campaign(tmp_path, train={"nodes": 2, "setup": setup}, default=first, retries=0)
    assert mlseg(slurm, "run", config).returncode == 0
    waiting = mlseg(slurm, "retry", config, "base")
    assert waiting.returncode == 2 and "phase base is queued" in waiting.stderr, waiting.stderr
    queued = {phase["name"]: phase for phase in status(slurm, config)["phases"]}["base"]
    assert queued["why"] == "waits for the phases before it", queued
    held.unlink()
    slurm.wait_for(lambda: status(slurm, config)["alert"], 240, 2)
    assert "phase base failed 1 times" in status(slurm, config)["alert"]

    assert mlseg(slurm, "retry", config, "label-1").returncode == 2
    assert "is done already" in mlseg(slurm, "retry", config, "shards").stdout
    blocked.unlink()
    again = mlseg(slurm, "retry", config, "base")
    assert again.returncode == 0, again.stderr
    submitted = [line.split()[1].rstrip(":") for line in again.stdout.splitlines() if line.startswith("submitted")]
    assert submitted == ["base", "label-1", "master-1", "evaluate", "report"]
    assert status(slurm, config)["alert"] == ""
    base = Path(status(slurm, config)["run"]) / "phases" / "02-base"
    slurm.wait_for((base / "done.json").exists, 240, 1)
    mlseg(slurm, "cancel", config)


def test_a_rehearsal_on_slurm_is_requeued_once_and_ends_with_rates(slurm, tmp_path: Path) -> None:  # noqa: F811
    config = campaign(tmp_path)
    ended = mlseg(slurm, "rehearse", config, "--steps", "6")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "base was interrupted once and went on" in ended.stdout
    run = tmp_path / "runs" / "tiny-rehearsal"
    done = json.loads((run / "phases" / "02-base" / "done.json").read_text())
    assert done["attempt"].split("-")[1] == "1"  # SLURM's restart count: the same job, requeued
    rates = {rate["phase"] for rate in json.loads((run / "rates.json").read_text())["rates"]}
    assert rates == {"slides", "shards", "base", "label-1", "master-1", "evaluate", "report"}
