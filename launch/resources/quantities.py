"""Times, memory and GPUs as SLURM writes them, read into minutes, MB and numbers.

The text is what a person writes in a config (`1-00:00:00`, `64G`, `h100:8`) and what scontrol answers (`UNLIMITED`).
"""

import math
import re

_TIME = re.compile(r"(?:\d+-\d{1,2}(?::\d{1,2}){0,2}|\d+(?::\d{1,2}){0,2})")
_MEMORY = re.compile(r"(\d+)\s*([KMGT])B?", re.IGNORECASE)
_MB = {"K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0 * 1024}
_GPUS = re.compile(r"(?:(?P<type>[A-Za-z][\w.-]*):)?(?P<count>\d+)")
_GRES = re.compile(r"(?:gres[/:])?gpu(?:[:/](?P<type>[^:=,()]+))??(?:[:=](?P<count>\d+))?(?:\([^)]*\))?", re.IGNORECASE)
_COUNT = re.compile(r"(?:[^:=,]+[:=])?(?P<count>\d+)")


def minutes(text: str) -> float:
    """Read a time limit: `minutes`, `minutes:seconds`, `hours:minutes:seconds`, `days-hours[:minutes[:seconds]]`.

    Anything else, such as UNLIMITED, is inf.
    """
    if not _TIME.fullmatch(text):
        return math.inf
    days, _, rest = text.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if days:
        hours, mins, secs = parts + [0] * (3 - len(parts))
    elif len(parts) == 1:
        hours, mins, secs = 0, parts[0], 0
    else:
        hours, mins, secs = [0] * (3 - len(parts)) + parts
    return int(days or 0) * 1440 + hours * 60 + mins + secs / 60


def megabytes(text: str) -> int:
    """Read an amount of memory (`64G`, `512M`, `480GB`) in MB, rounded up. Raises ValueError."""
    found = _MEMORY.fullmatch(text.strip())
    if not found:
        raise ValueError("memory is a whole number and a unit, as SLURM writes it: 512M, 64G, 1T")
    return math.ceil(int(found[1]) * _MB[found[2].upper()])


def gpus_of_types(text: str) -> dict[str, int]:
    """`8` -> {"": 8}; `h100:4,a100:2` -> {"h100": 4, "a100": 2}. Raises ValueError."""
    found = [_GPUS.fullmatch(part.strip()) for part in text.split(",")]
    if not all(found):
        raise ValueError("GPUs are a number, or a type and a number: 8, h100:8")
    return {match["type"] or "": int(match["count"]) for match in found if match}


def gpus_of_gres(text: str) -> dict[str, int]:
    """Type -> GPUs, of what scontrol says of a node: `gpu:h100:8(S:0-1),nvme:1` -> {"h100": 8}; "" where no type is said."""
    total: dict[str, int] = {}
    for part in re.split(r",(?![^(]*\))", text):
        if match := _GRES.fullmatch(part.strip()):
            kind = match["type"] or ""
            total[kind] = total.get(kind, 0) + (int(match["count"]) if match["count"] else 1)
    return total


def gpus_of_parameter(name: str, value: str, nodes: int, tasks_per_node: int) -> int:
    """GPUs a node, rounded up, that a further parameter of sbatch asks for; 0 where it is about something else."""
    name, value = name.replace("_", "-").lstrip("-"), value.strip()
    if name in ("gpus", "G"):
        return math.ceil(_counted(value) / nodes)
    if name in ("gpus-per-node", "gpus-per-socket"):
        return _counted(value)
    if name == "gpus-per-task":
        return _counted(value) * tasks_per_node
    if name in ("gres", "tres-per-node", "tres-per-socket"):
        return _listed(value)
    if name == "tres-per-task":
        return _listed(value) * tasks_per_node
    if name == "tres-per-job":
        return math.ceil(_listed(value) / nodes)
    return 0


def _counted(value: str) -> int:
    """`8`, `h100:8`, `h100:4,a100:4`."""
    found = [_COUNT.fullmatch(part.strip()) for part in value.split(",")]
    return sum(int(match["count"]) for match in found if match)


def _listed(value: str) -> int:
    """`gpu`, `gpu:2`, `gpu:h100:8`, `gres/gpu:8`, `cpu:4,gres/gpu:h100=1`; other resources do not count."""
    return sum(gpus_of_gres(value).values())


def size(amount: float) -> str:
    """Bytes in powers of 1000, three digits."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(amount) < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} PB"
