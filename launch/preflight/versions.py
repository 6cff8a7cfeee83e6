"""Installed packages against the project's own specifiers; NVIDIA DALI and the libraries that it opens, where a config wants it.

What holds on this machine says little of a node with another Python, so a node's probe asks the same questions there.
"""

import importlib.metadata
import importlib.util
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

from launch.preflight.finding import Finding
from launch.version import DISTRIBUTION, source_project

Required = Mapping[str, Sequence[Requirement]]
"""Extra (`""`: always) -> what it requires."""

_EXTRAS = {"cuda12": 12, "cuda13": 13}
"""Extras with DALI -> CUDA's major version."""
_NPP = ("libnppc", "libnppicc", "libnppig")
_NVJPEG = ("libnvjpeg",)
_LIBRARIES = {"train.augment_on": (*_NPP, *_NVJPEG), "label.decode_on": _NVJPEG}
"""Key that asks for DALI -> libraries that no wheel links to: DALI's operator `experimental.remap` opens NPP when it is first used,
and its decoder nvJPEG, without which a CPU decodes."""
_LOAD = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"


def required() -> Required:
    """As pyproject.toml says where the packages lie in their source tree, else as the installed distribution says."""
    if project := source_project():
        lines = {"": project["dependencies"], **project["optional-dependencies"]}
        return {extra: [Requirement(line) for line in each] for extra, each in lines.items()}
    try:
        known = [Requirement(line) for line in importlib.metadata.requires(DISTRIBUTION) or []]
        extras = importlib.metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    except importlib.metadata.PackageNotFoundError:  # code without its distribution, as in a container
        return {"": []}
    always = [one for one in known if one.marker is None or one.marker.evaluate({"extra": ""})]
    optional = [one for one in known if one not in always and one.marker is not None]
    return {"": always} | {
        extra: [one for one in optional if one.marker and one.marker.evaluate({"extra": extra})] for extra in extras
    }


def check_packages(requirements: Sequence[Requirement]) -> Iterator[Finding]:
    """One finding for all packages that are missing, and one for each whose version does not fit."""
    versions = {one.name: installed(one.name) for one in requirements}
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        yield Finding(
            "python", "bad", f"not installed: {', '.join(missing)}", "Run: make install, or pip install the wheel again"
        )
    for one in requirements:
        version = versions[one.name]
        if version is not None and not fits(one, version):
            yield _misfit(one, version)


def check_dali(keys: Sequence[str], known: Required) -> Iterator[Finding]:
    """keys: of the config, that ask for DALI: `train.augment_on`, `label.decode_on`. One finding if all is well."""
    wanted = {one.name: (extra, one) for extra in _EXTRAS for one in known.get(extra, ()) if "dali" in one.name}
    found = {name: version for name in wanted if (version := installed(name)) is not None}
    if not _can_import("nvidia.dali"):
        for key in keys:
            yield Finding("DALI", "bad", f"{key} is gpu, and NVIDIA DALI is not installed", _install(key))
        return
    if len(found) > 1:
        both = " ".join(found)
        remedy = f"pip uninstall {both}, then install one extra: {' or '.join(_EXTRAS)}."
        yield Finding("DALI", "bad", f"{' and '.join(found)} lie in one folder, each over the other's files", remedy)
        return
    bad = [_misfit(wanted[name][1], version) for name, version in found.items() if not fits(wanted[name][1], version)]
    if bad or not found:
        yield from bad or [Finding("DALI", "warning", "its version is not known: it was not installed by pip", "")]
        return
    (name, version), *_ = found.items()
    extra = wanted[name][0]
    lost = missing_libraries(keys, _EXTRAS[extra])
    if lost:
        yield Finding(
            "DALI", "bad", f"{name} {version} does not find {', '.join(lost)}", f"pip install '{DISTRIBUTION}[{extra}]'"
        )
    else:
        yield Finding("DALI", "ok", f"{name} {version}, for {' and '.join(keys)}")


def missing_libraries(keys: Sequence[str], cuda: int) -> list[str]:
    """Names, such as `libnppig.so.13`, of libraries that DALI would open for these keys and that cannot be loaded."""
    spec = importlib.util.find_spec("nvidia.dali")
    here = [Path(folder) for folder in (spec.submodule_search_locations if spec else None) or []]
    names = dict.fromkeys(f"{stem}.so.{cuda}" for key in keys for stem in _LIBRARIES[key])
    return [name for name in names if not _loads(_places(name, here, cuda))]


def _places(name: str, dali: Sequence[Path], cuda: int) -> Iterator[str]:
    """Where DALI's own search path leads (`readelf -d libdali_operators.so`), then where the system's does."""
    for folder in dali:
        for other in ("npp/lib", "nvjpeg/lib", f"cu{cuda}/lib"):
            yield str(folder.parent / other / name)
    yield f"/usr/local/cuda/lib64/{name}"
    yield name


def _loads(places: Iterable[str]) -> bool:
    """Any of them, in a process of its own: a file that is cut short kills the one that loads it."""
    found = [place for place in places if Path(place).exists() or "/" not in place]
    command = [sys.executable, "-I", "-S", "-c", _LOAD]
    return any(subprocess.run([*command, place], capture_output=True, check=False).returncode == 0 for place in found)


def installed(name: str) -> str | None:
    """Version of an installed distribution."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def fits(requirement: Requirement, version: str) -> bool:
    """A site's own build and a pre-release (`2.11.0a0+git1234`) count as their release."""
    try:
        release = Version(version).base_version
    except InvalidVersion:
        return False
    return requirement.specifier.contains(version, prereleases=True) or requirement.specifier.contains(release)


def _misfit(one: Requirement, version: str) -> Finding:
    limits = ",".join(sorted(map(str, one.specifier), reverse=True))
    return Finding(
        one.name, "bad", f"{one.name} {version} is installed, {limits} is needed", f"pip install '{one.name}{limits}'"
    )


def _can_import(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # no package of NVIDIA's
        return False


def _install(key: str) -> str:
    return f"Install the extra cuda12 or cuda13 (pip install '{DISTRIBUTION}[cuda12]'), or set {key}=cpu."
