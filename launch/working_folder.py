"""A working folder for people who installed a wheel: configs, slurm/master.sh, container recipes, constraints, a README.

In: a folder. Out: the files that were missing there. What a person has written or changed there is never touched.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from launch.paths import LAID_OUT
from launch.version import HOME, version
from mlseg_core.errors import UserError
from mlseg_core.files import write_atomic

_IN_WHEEL = HOME / "mlseg_files"
"""Where setup.py puts the source tree's own files."""
_PARTS = ("configs", "slurm", "constraints.txt")
_LEFT_OUT = "configs/proof"
"""Our own experiments."""
_README = """\
# A working folder of mlseg {version}

    mlseg plan configs/demo.yaml    # what a small campaign on synthetic slides would do
    mlseg run configs/demo.yaml     # do it here, in minutes; then open runs/demo/report/index.html

Campaigns are `configs/*.yaml`: copy one and edit it. Relative paths in it start at this folder; runs go to `runs/`.
What your site's jobs ask for is a file `configs/clusters/mysite.yaml`; examples are beside it. On its login node:
`mlseg preflight configs/paper.yaml --cluster mysite slides=slides.csv`, then `mlseg run` with the same words.
`bash slurm/master.sh CONFIG` does the same and first activates `.venv`, if that is here. `mlseg init .` adds missing files.
"""


@dataclass(frozen=True)
class LaidOut:
    """Names within the folder. kept: files that were there and differ."""

    written: list[str]
    kept: list[str]


def lay_out(folder: Path) -> LaidOut:
    """Write what is missing; killed and started again, it completes the folder. Raises UserError, before it writes anything."""
    files = dict(_files())
    for name in files:
        for place in [(folder / name), *(folder / name).parents]:
            if place.exists() and place.is_dir() == (place == folder / name):
                what = "a folder is where a file has to go" if place.is_dir() else "it is a file, not a folder"
                raise UserError(what, place, "Choose another folder, or move it away.")
    written, kept = [], []
    for name, content in files.items():
        path = folder / name
        if not path.exists():
            write_atomic(path, content)
            written.append(name)
        elif name != LAID_OUT and path.read_bytes() != content:
            kept.append(name)
    return LaidOut(written, kept)


def _files() -> Iterator[tuple[str, bytes]]:
    """Name -> content; the mark comes last, because it makes the folder a project. Raises UserError."""
    home = _IN_WHEEL if _IN_WHEEL.is_dir() else HOME
    if not (home / "slurm" / "master.sh").is_file():
        raise UserError("this code has no configs beside it", HOME, "Run `mlseg init` of an installed mlseg.")
    for part in _PARTS:
        place = home / part
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            name = path.relative_to(home).as_posix()
            if path.is_file() and not name.startswith(f"{_LEFT_OUT}/"):
                yield name, path.read_bytes()
    yield "README.md", _README.format(version=version()).encode()
    yield LAID_OUT, f'{{"version": "{version()}"}}\n'.encode()
