"""Cluster files: a site's settings by name, so that one campaign file runs at any site: `mlseg run CONFIG --cluster mysite`.

In: a name or a path, the campaign's file or run folder. Out: the file, configs/clusters/NAME.yaml of the project, or of the folder
that the campaign lies in. Its keys are defaults, as those of `extends` are; it takes the place of cluster files that are extended.
"""

import argparse
from pathlib import Path

from launch.paths import base_of
from mlseg_core.errors import UserError

_ENDS = (".yaml", ".yml")


def add_cluster_option(parser: argparse.ArgumentParser) -> None:
    """`--cluster NAME`, for commands that take a campaign."""
    about = "the site's file: configs/clusters/NAME.yaml, or a path; in place of those that CONFIG extends"
    parser.add_argument("--cluster", metavar="NAME", help=about)


def find_cluster(name: str, where: Path) -> Path:
    """The path of the cluster file. where: a campaign file or a run folder. Raises UserError that lists the names there are."""
    given = Path(name).expanduser()
    if given.suffix in _ENDS or len(given.parts) > 1:
        if not given.is_file():
            raise UserError("no such cluster file", given, "Give a path, or a name such as `slurm-gpu`.")
        return given.absolute()
    folders = _folders(where)
    for folder in folders:
        for end in _ENDS:
            if (folder / f"{name}{end}").is_file():
                return folder / f"{name}{end}"
    known = sorted({file.stem for folder in folders for end in _ENDS for file in folder.glob(f"[!.]*{end}")})
    places = " or ".join(str(folder / f"{name}.yaml") for folder in folders)
    raise UserError(
        f"no cluster {name!r}: there is no {places}",
        "--cluster",
        f"There are: {', '.join(known)}." if known else "Give the path of a file.",
    )


def _folders(where: Path) -> list[Path]:
    """Where cluster files lie: of the project that the campaign or the working folder belongs to, and beside the campaign."""
    start = where / "campaign.yaml" if where.is_dir() else where
    beside = start.absolute().parent
    places = (base_of(start) / "configs", base_of(Path("campaign.yaml")) / "configs", beside, beside / "configs")
    return list(dict.fromkeys(place / "clusters" for place in places))
