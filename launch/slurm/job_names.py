"""Names of jobs: TITLE.mlseg-CAMPAIGN[.RUN-ID], where TITLE is NN-PHASE-PART or `replan`.

The title comes first, as squeue shows eight letters of a name. Earlier code put it last: mlseg-CAMPAIGN-TITLE[.RUN-ID]. Jobs of a
run that is frozen with such code keep these names: its job that plans again would not know others as its own, and submit them anew.
"""

import re
from pathlib import Path

from launch.run_folder import RunFolder
from launch.run_folder.identity import LENGTH

_ID = re.compile(rf"\.([a-z0-9]{{{LENGTH}}})$")
_TITLE = r"(\d+-.+-(work|merge)|replan)"


def job_name(run: RunFolder, campaign: str, title: str, mark: str = "") -> str:
    """mark: the run's id, "" where it has none."""
    knows = any(run.code.glob(f"launch/**/{Path(__file__).name}"))
    name = f"{title}.mlseg-{campaign}" if knows else f"mlseg-{campaign}-{title}"
    return f"{name}.{mark}" if mark else name


def is_ours(name: str) -> bool:
    """Whether a job may be one of a campaign's."""
    return name.startswith("mlseg-") or ".mlseg-" in name


def id_in(name: str) -> str:
    """The run id at the end of a job's name; "" where there is none."""
    found = _ID.search(name)
    return found.group(1) if found else ""


def has_title(name: str, title: str) -> bool:
    """Whether the job does this, whatever the campaign is called. title: PHASE-PART, without the phase's number, or `replan`."""
    plain, said = _ID.sub("", name), re.escape(title)
    return re.fullmatch(rf"mlseg-.+-{said}|(\d+-)?{said}\.mlseg-.+", plain) is not None


def is_called(name: str, campaign: str) -> bool:
    """Whether it is a job of a campaign of this name, of any run."""
    plain, called = _ID.sub("", name), re.escape(campaign)
    return re.fullmatch(rf"mlseg-{called}-{_TITLE}|{_TITLE}\.mlseg-{called}", plain) is not None
