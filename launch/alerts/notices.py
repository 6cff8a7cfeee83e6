"""What people are told of a campaign: the alerts of its phases, as W&B gets them, what a planner asks a person for, and its end.

In: the run folder's files. Out: notices, each with a key by which it is sent once. What is older than a day is not told.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from launch.completion import Completion, survey
from launch.config import CampaignConfig
from launch.graph import Phase, build_graph
from launch.phase_time import took
from launch.planner import checks_passed
from launch.run_folder import RunFolder
from launch.slurm.job_plans import read_plans
from mlseg_core.errors import UserError
from mlseg_core.files import read_json
from mlseg_core.progress import clock
from mlseg_dist.events import read_events

_OLD_S = 24 * 3600.0
_LOOK = "Where it stands: mlseg status RUN"
_FIX = "Correct the cause, then continue the campaign: mlseg run, or mlseg retry RUN PHASE for a phase that has failed."


@dataclass(frozen=True)
class Notice:
    """key: fit to name a file.  title, text: as in the run folder, with names and paths, which delivery.py takes out."""

    key: str
    title: str
    text: str


def of_phase(run: RunFolder, config: CampaignConfig, phase: Phase) -> list[Notice]:
    """Warnings and errors of the phase, the first of each kind, and requeue storms.

    A failed job is told here only where it is tried again by itself: else the campaign's own alert says it.
    """
    from mlseg_dist.tracking.alerts import alert_of, storms

    label, events = f"{config.name}/{phase.folder}", read_events(run.phase(phase))
    again = config.cluster.retries if read_plans(run) else 0  # without plans it runs on this machine
    found: list[Notice] = []
    told: set[str] = set()
    for event in events:
        kind, when = str(event.get("event", "")), float(event.get("time", 0.0))
        alert = alert_of(event, label)
        if alert is None or alert.level == "INFO" or kind in told:
            continue
        more = ""
        if kind == "failed":
            if not again or alert.text.startswith("error: "):
                continue
            more = f"\nIt is tried again, up to {again} times."
        told.add(kind)
        if _is_recent(when):
            found.append(Notice(f"{phase.folder}-{kind}-{int(when)}", alert.title, f"{alert.text}{more}\n{_LOOK}"))
    for storm in storms([event for event in events if event["event"] == "started"], label):
        when = float(storm.key.split()[1])
        if _is_recent(when):
            found.append(Notice(f"{phase.folder}-storm-{int(when)}", storm.title, f"{storm.text}\n{_LOOK}"))
    return found


def of_alert(run: RunFolder, config: CampaignConfig) -> list[Notice]:
    """What the planner left in RUN/alert.json."""
    path = run.path / "alert.json"
    try:
        raw, changed = read_json(path), path.stat().st_mtime
    except (UserError, OSError):
        return []
    return [asked_for(config, raw["alert"], float(raw.get("time", changed)))] if raw.get("alert") else []


def asked_for(config: CampaignConfig, text: str, when: float) -> Notice:
    """A person is needed."""
    return Notice(f"alert-{int(when * 1000)}", f"{config.name}: a person is needed", f"{text}\n{_FIX}\n{_LOOK}")


def of_end(run: RunFolder, config: CampaignConfig, completions: Sequence[Completion] | None = None) -> list[Notice]:
    """That all phases are done, and whether the checks passed."""
    completions = survey(config, build_graph(config), run) if completions is None else completions
    if not completions or any(completion.state != "done" for completion in completions):
        return []
    ended = max(float(completion.done.get("ended", 0.0)) for completion in completions)
    if not _is_recent(ended):
        return []
    times = [took(run.phase(completion.phase), completion.done) for completion in completions]
    spent = sum(time.seconds for time in times if time is not None)
    verdict = "done" if checks_passed(run) else "done, but its checks did not pass"
    report = run.report / "index.html"
    text = f"All {len(completions)} phases are done; their times add up to {clock(spent)}.\nThe report: {report}"
    return [Notice(f"end-{int(ended)}", f"{config.name}: the campaign is {verdict}", text)]


def _is_recent(when: float) -> bool:
    """Nobody is called for what happened days ago, for example when alerts are set up in the middle of a campaign."""
    return time.time() - when < _OLD_S
