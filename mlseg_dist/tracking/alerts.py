"""Which events reach people as alerts, on W&B, by mail and by webhook, and in which words. Pure.

Texts are as they stand in the run folder: who sends them takes names out (Redaction.text) and escapes them, in this order.
"""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

TITLES = {
    "non-finite": "loss or gradient is not finite",
    "validation-not-finite": "validation has answers that are not finite",
    "rolled-back": "training went back to a checkpoint",
    "excluded": "pairs are excluded",
    "checkpoint-damaged": "fell back to an older checkpoint",
    "checkpoint-failed": "a checkpoint could not be saved",
    "stuck": "a rank is stuck",
    "straggler": "a rank is slow",
    "out-of-memory": "out of GPU memory",
    "kept-teacher": "a step learnt nothing better",
    "class-collapse": "a class has collapsed",
    "harmful-labels": "a round's labels drift",
    "metrics-failed": "metrics.jsonl could not be written",
    "teacher": "phase done",
    "finished": "phase done",
}
"""Event -> what the alert's title says. An event of level `error` alerts whatever its name."""
LEVELS = {"info": "INFO", "warning": "WARN", "error": "ERROR"}
_DONE = ("teacher", "finished")  # the first is told while the phase's own sender still runs
STORM_STARTS, STORM_S = 5, 3600.0
"""So many starts of a phase within so many seconds are a requeue storm."""
_TITLE_CHARS = 63
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~@])")
_FACTS = ("step", "rank", "host")


@dataclass(frozen=True)
class Alert:
    """title: at most 63 characters. level: INFO, WARN or ERROR. key: an alert is sent once a key, if it has one."""

    title: str
    text: str
    level: str
    key: str = ""


def alert_of(event: dict[str, Any], phase: str) -> Alert | None:
    """The alert of an event, or None for what nobody has to be told. phase: CAMPAIGN/PHASE."""
    name, level = str(event.get("event", "")), str(event.get("level", "warning"))
    if name not in TITLES and level != "error":
        return None
    facts = ", ".join(f"{fact} {event[fact]}" for fact in _FACTS if event.get(fact) not in (None, ""))
    text = f"{event.get('text', '')} ({facts})" if facts else str(event.get("text", ""))
    words = TITLES.get(name, name)
    return Alert(_title(phase, words), text, LEVELS.get(level, "WARN"), "done" if name in _DONE else "")


def done_alert(phase: str, seconds: float) -> Alert:
    return Alert(_title(phase, TITLES["finished"]), f"its last job took {seconds:.0f} s", "INFO", "done")


def failed_alert(phase: str, state: dict[str, Any]) -> Alert:
    """state: state.json of an attempt that failed."""
    text = f"{state.get('error', '')} (host {state.get('host', '?')}, log {state.get('log', '?')})"
    return Alert(_title(phase, "job failed"), text, "ERROR", f"failed {state.get('attempt', '')}")


def regions_alert(campaign: str, fallen: Sequence[str]) -> list[Alert]:
    """One alert where folds, bubbles, blur and artefacts are recognised worse than at first. fallen: a sentence a split."""
    text = f"{'; '.join(fallen)}. Look at the report's section on bad regions before you use the last step."
    return [Alert(_title(campaign, "bad regions are lost"), text, "ERROR", "bad-regions")] if fallen else []


def checks_alert(campaign: str, failed: Sequence[str]) -> list[Alert]:
    """One alert where checks of the config did not pass. failed: a sentence a check."""
    words = f"{len(failed)} check{'s' if len(failed) > 1 else ''} failed"
    return [Alert(_title(campaign, words), "; ".join(failed), "ERROR", "checks")] if failed else []


def storms(started: Sequence[dict[str, Any]], phase: str) -> list[Alert]:
    """One alert for each hour in which the phase started too often. started: events `started`, oldest first."""
    found: list[Alert] = []
    quiet_until = 0.0
    for last in range(STORM_STARTS - 1, len(started)):
        first, time = started[last - STORM_STARTS + 1], float(started[last].get("time", 0))
        if time >= quiet_until and time - float(first.get("time", 0)) <= STORM_S:
            text = f"{STORM_STARTS} starts in {(time - float(first.get('time', 0))) / 60:.0f} min, last on host "
            text = f"{text}{started[last].get('host', '?')}: it is requeued and gets nowhere?"
            found.append(Alert(_title(phase, "requeue storm"), text, "ERROR", f"storm {time}"))
            quiet_until = time + STORM_S
    return found


def escape_title(title: str) -> str:
    """A title as it is, where W&B reads HTML."""
    return html.escape(title, quote=False)


def escape(text: str) -> str:
    """Text as it is, where W&B reads Markdown and HTML."""
    return _MARKDOWN.sub(r"\\\1", escape_title(text))


def _title(phase: str, words: str) -> str:
    """phase: CAMPAIGN/PHASE, cut at its start where it is too long."""
    room = _TITLE_CHARS - len(words) - 2
    return f"{phase[-room:] if room > 0 else ''}: {words}"[:_TITLE_CHARS]
