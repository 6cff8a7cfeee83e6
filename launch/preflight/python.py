"""python: the interpreter and the packages that the jobs will import."""

import importlib.metadata
import importlib.util
import platform
import shutil
import sys
from collections.abc import Iterator

from launch.gpus import asked_gpus
from launch.kinds import JobName
from launch.preflight.finding import Finding
from launch.preflight.site import Site
from launch.run_folder import code_hash, package_folders

_SHOWN = ("torch", "deepspeed", "submitit")


def python(site: Site) -> Iterator[Finding]:
    """Missing packages; a torch without GPUs; code unlike the run folder's; PYTHONPATH in a set-up line; DALI, where wanted."""
    missing = _missing()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _SHOWN if name not in missing)
    seen = f"Python {platform.python_version()} at {sys.executable}; {versions}"
    if missing:
        yield Finding("python", "bad", f"not installed: {', '.join(missing)}", "Run: make install")
    else:
        yield Finding("python", "ok", seen)
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
    yield from _dali(site)


def _gpu_build(site: Site) -> Iterator[Finding]:
    """Jobs in a container have a torch of their own."""
    names = [name for name, job in site.jobs.items() if asked_gpus(job) and not job.container]
    if "torch" not in _missing() and "+cpu" in (version := importlib.metadata.version("torch")) and names:
        mend = f"Install one with GPUs, or {asked_gpus(site.jobs[names[0]]).remedy(f'cluster.{names[0]}')}."
        yield Finding("torch", "bad", f"{version} is a build without GPUs; {', '.join(names)} jobs ask for some", mend)


def _dali(site: Site) -> Iterator[Finding]:
    """Where the config wants it. Steps label but for the last."""
    wanted: list[tuple[str, JobName]] = []
    if site.config.train.augment_on == "gpu":
        wanted.append(("train.augment_on", "train"))
    if any(step.label.decode_on == "gpu" for step in site.config.steps[:-1]):
        wanted.append(("label.decode_on", "map"))
    for key, job in wanted:
        if not _has_dali():
            mend = f"Install the extra cuda12 or cuda13 (pip install 'mlseg[cuda12]'), or set {key}=cpu."
            yield Finding("DALI", "bad", f"{key} is gpu, and NVIDIA DALI is not installed", mend)
        elif not asked_gpus(site.jobs[job]):
            mend = f"Set cluster.{job}.gpus_per_node, or {key}=cpu."
            yield Finding("DALI", "bad", f"{key} is gpu, but cluster.{job} asks for no GPU", mend)
        else:
            yield Finding("DALI", "ok", f"installed, for {key}")


def _has_dali() -> bool:
    try:
        return importlib.util.find_spec("nvidia.dali") is not None
    except ModuleNotFoundError:  # no package of NVIDIA's
        return False


def _missing() -> list[str]:
    """Required distributions that are not installed."""
    missing = []
    for requirement in importlib.metadata.requires("mlseg") or []:
        if "extra ==" in requirement:
            continue
        name = requirement.split(";")[0]
        for mark in "<>=!~[ ":
            name = name.split(mark)[0]
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    return missing
