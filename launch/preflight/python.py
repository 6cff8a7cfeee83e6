"""python: the interpreter and the packages that the jobs will import."""

import importlib.metadata
import platform
import shutil
import sys
from collections.abc import Iterator

from launch.preflight.finding import Finding
from launch.preflight.site import Site
from launch.run_folder import code_hash, package_folders

_SHOWN = ("torch", "deepspeed", "submitit")


def python(site: Site) -> Iterator[Finding]:
    """Missing packages; code that differs from the run folder's; PYTHONPATH in a set-up line."""
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
