"""node: a job of a minute on each kind of node, with the resources, set-up and container of the campaign's own jobs."""

import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from submitit import Job, LocalExecutor
from submitit.core.utils import FailedJobError
from submitit.helpers import clean_env

from launch.environment import environment, job_environment
from launch.preflight.finding import Finding
from launch.preflight.node_probe import look
from launch.preflight.python import dali_keys
from launch.preflight.site import Site
from launch.resources.blocks import Block, JobConfig
from launch.resources.gpus import asked_gpus, give_gpus, tasks_here
from launch.resources.quantities import size
from launch.run_folder import package_folders
from launch.slurm.queue import QueuedJob, cancel, read_queue
from launch.slurm.submit import job_executor, submitting_environment
from mlseg_core.errors import UserError
from mlseg_core.files import read_json

_TIME_MIN = 5
_POLL_S = 1.0
_LOG_LINES = 3
_PATIENCE_S = 10.0  # for files to appear on another machine


def node(site: Site) -> Iterator[Finding]:
    """One finding for each host, or why there is none."""
    if not site.node_job:
        yield Finding("node", "skipped", "--node-job runs a short job a kind of node: GPU, driver, ranks, folders")
        return
    for name, job in site.kinds_of_node().items():
        look_at = _Probe(site, name, job)
        try:
            yield from look_at.findings()
        finally:
            look_at.end()


class _Probe:
    """One job and the folder that it writes to, which is removed if all is well."""

    def __init__(self, site: Site, name: Block, job: JobConfig) -> None:
        self.site, self.name, self.job = site, name, job
        self.row = f"node: {name} jobs"
        self.gpus = asked_gpus(job).per_node
        same = {kind: each for kind, each in site.jobs.items() if asked_gpus(each) and each.container == job.container}
        self.dali = [key for kind in same for key in dali_keys(site, kind)] if self.gpus else []
        self.ranks = job.tasks if site.slurm else tasks_here(job)
        self.parent = site.run.path.with_name(f"{site.run.path.name}.preflight")
        self.folder = self.parent / f"{name}-{secrets.token_hex(4)}"
        self.made_parent = not self.parent.exists()
        self.folder.mkdir(parents=True, mode=0o700)
        self.id, self.sound = "", False
        self.local: Job[Any] | None = None

    def findings(self) -> Iterator[Finding]:
        try:
            self._submit()
        except FailedJobError as error:
            said = str(error).strip().splitlines()[-1]
            raise UserError(f"SLURM refused the job: {said}", f"cluster.{self.name}", "Correct it.") from error
        why = self._wait()
        ranks = [read_json(path) for path in sorted(self.folder.glob("rank-*.json"))]
        if why:
            yield Finding(self.row, *why)
        elif len(ranks) < self.ranks or any(rank["error"] for rank in ranks):
            said = next((rank["error"] for rank in ranks if rank["error"]), self._log_end())
            unfit = [seen for rank in ranks[:1] for seen, _ in rank["packages"]]
            told = f"{len(ranks)} of {self.ranks} ranks reported; {'; '.join([said, *unfit])}"
            yield Finding(self.row, "bad", told, f"See the logs in {self.folder}.")
        else:
            self.sound = True
            for host in sorted({rank["host"] for rank in ranks}):
                yield self._judge(host, [rank for rank in ranks if rank["host"] == host])

    def end(self) -> None:
        """Remove what we made, unless somebody has to read the logs."""
        if self.id and not self.sound:
            cancel([self.id])
        if self.sound:
            shutil.rmtree(self.folder, ignore_errors=True)  # made here, under a random name, a minute ago
            if self.made_parent and not any(self.parent.iterdir()):
                self.parent.rmdir()

    def _submit(self) -> None:
        cache = self.site.config.train.cache_dir
        local = [str(cache or tempfile.gettempdir())]
        words = (str(self.folder), str(self.site.run.path.parent), local, self.dali, self.name != "train")
        code = package_folders()["launch"].parent
        if self.site.slurm:
            executor = job_executor(self.site.run, self.site.config.name, self.folder, "preflight", self.job, code)
            executor.update_parameters(time=_TIME_MIN)
            kept = submitting_environment()
            with clean_env(), environment(kept):
                self.id = executor.submit(look, *words).job_id
            return
        here = LocalExecutor(self.folder)
        here.update_parameters(
            tasks_per_node=self.ranks,
            timeout_min=_TIME_MIN,
            stderr_to_stdout=True,
        )
        give_gpus(here, self.gpus)
        variables = {**job_environment(self.site.run, self.job), "PYTHONPATH": str(code)}
        with clean_env(), environment(variables):
            self.local = here.submit(look, *words)

    def _wait(self) -> tuple[Any, ...] | None:
        """Wait for the job. Returns None once it has ended, else why we stop waiting: mark, seen, fix."""
        deadline = time.monotonic() + self.site.wait_s
        while True:
            if len(list(self.folder.glob("rank-*.json"))) >= self.ranks:
                return None
            queued = self._queued() if self.id else []
            alive = any(job.can_run for job in queued) if self.id else not (self.local and self.local.done())
            if not alive:
                end = time.monotonic() + (_PATIENCE_S if self.id else 0)
                while time.monotonic() < end and len(list(self.folder.glob("rank-*.json"))) < self.ranks:
                    time.sleep(_POLL_S)
                return None
            if time.monotonic() > deadline:
                state = f"{queued[0].state} ({queued[0].reason})" if queued else "still running"
                return "warning", f"not done within {self.site.wait_s:.0f} s: {state}", "Try again, or --wait longer."
            time.sleep(_POLL_S)

    def _queued(self) -> list[QueuedJob]:
        return read_queue(lambda job: job.main == self.id, {os.getuid()}, settle=False)

    def _log_end(self) -> str:
        logs = sorted(self.folder.glob("*_log.out"))
        lines = [line for log in logs for line in log.read_text(errors="replace").splitlines() if line.strip()]
        return " | ".join(lines[-_LOG_LINES:]) or "no log"

    def _judge(self, host: str, ranks: list[dict[str, Any]]) -> Finding:
        first = ranks[0]
        free = ", ".join(f"{size(room)} free in {place}" for place, room in first["free"].items() if room is not None)
        gpu = (
            f"{first['gpus']} × {first['gpu']}, driver {first['driver']}, NCCL {first['nccl']}" if first["gpus"] else ""
        )
        met = f"{first['ranks']} ranks met over {first['backend']} in {first['met_s']} s"
        machine = f"{host}: {first['cpus']} CPUs" + (f", {gpu}" if gpu else "")
        seen = f"{machine}; torch {first['torch']}; {met}; {free}"
        if not all(rank["visible"] for rank in ranks):
            return Finding(self.row, "bad", f"{host} does not see {self.site.run.path.parent}", "Use a shared folder.")
        if first["packages"]:
            unfit = "; ".join(seen for seen, _ in first["packages"])
            return Finding(self.row, "bad", f"{host}: {unfit}", first["packages"][0][1])
        # SLURM shows each rank only its own GPUs where they were asked for by the task
        expected = self.gpus if self.job.gpus else min(1, self.gpus)
        if first["gpus"] < expected:
            fix = "Check the driver, and that torch is built for CUDA (install on a GPU machine)."
            return Finding(self.row, "bad", f"{seen}; {expected} GPUs expected", fix)
        if first["no_sbatch"] and not self.job.container and self.site.config.cluster.replan == "job":
            told = (
                f"{seen}; jobs here may not submit jobs ({first['no_sbatch']}), so none could plan a failed phase again"
            )
            return Finding(
                self.row, "warning", told, "Set cluster.replan=login, and let `mlseg run` stay on the login node."
            )
        return Finding(self.row, "ok", seen)
