"""python: the interpreter and the packages that the jobs will import."""

import platform
import shutil
import sys
from collections.abc import Iterator

from launch.gpus import asked_gpus
from launch.preflight.finding import Finding
from launch.preflight.site import Site
from launch.preflight.versions import Required, check_dali, check_packages, installed, required
from launch.resources import Block
from launch.run_folder import code_hash, package_folders

_SHOWN = ("torch", "deepspeed", "submitit")


def python(site: Site) -> Iterator[Finding]:
    """Packages that are missing or of another version; a torch without GPUs; code unlike the run folder's; PYTHONPATH in a set-up
    line; DALI, where wanted."""
    known = required()
    bad = list(check_packages(known[""]))
    yield from bad
    if not bad:
        versions = ", ".join(f"{name} {installed(name)}" for name in _SHOWN)
        yield Finding("python", "ok", f"Python {platform.python_version()} at {sys.executable}; {versions}")
    if shutil.which("sbatch") and shutil.which("mlseg") is None:
        yield Finding("python", "warning", "mlseg is not on the PATH, where slurm/master.sh looks", "Activate .venv.")
    frozen = site.run.frozen().get("hash")
    if frozen and frozen != code_hash(package_folders()):
        yield Finding("code", "warning", "the run goes on with its frozen code, which differs", "Or: --accept-code")
    for name, job in site.jobs.items():
        if any("PYTHONPATH=" in line for line in job.setup):
            yield Finding(
                "python",
                "warning",
                f"cluster.{name}.setup sets PYTHONPATH",
                "Leave it out: the run folder's code comes first.",
            )
    yield from _gpu_build(site)
    yield from _dali(site, known)


def _gpu_build(site: Site) -> Iterator[Finding]:
    """Jobs in a container, or with an interpreter of their own, have another torch."""
    names = [name for name, job in site.jobs.items() if asked_gpus(job) and not job.container and not job.python]
    version = installed("torch") or ""
    if "+cpu" in version and names:
        mend = f"Install one with GPUs, or {asked_gpus(site.jobs[names[0]]).remedy(f'cluster.{names[0]}')}."
        yield Finding("torch", "bad", f"{version} is a build without GPUs; {', '.join(names)} jobs ask for some", mend)


def dali_keys(site: Site, job: Block) -> list[str]:
    """Keys of the config that have a job's processes use DALI. Steps label but for the last."""
    if job == "train":
        return ["train.augment_on"] if site.config.train.augment_on == "gpu" else []
    labels = job == "label" and any(step.label.decode_on == "gpu" for step in site.config.steps[:-1])
    return ["label.decode_on"] if labels else []


def _dali(site: Site, known: Required) -> Iterator[Finding]:
    """Where the config wants it; jobs in a container, or with an interpreter of their own, have another one."""
    wanted = [(key, job) for job in site.jobs for key in dali_keys(site, job)]
    here = [key for key, job in wanted if not (site.jobs[job].container or site.jobs[job].python)]
    if here:
        yield from check_dali(here, known)
    for key, job in wanted:
        if not asked_gpus(site.jobs[job]):
            fix = f"Set cluster.{job}.gpus, or {key}=cpu."
            yield Finding("DALI", "bad", f"{key} is gpu, but cluster.{job} asks for no GPU", fix)
