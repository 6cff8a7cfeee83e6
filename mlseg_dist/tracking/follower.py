"""Sends what a phase's files say to its W&B run, as they grow; another process writes them, and may cut them back or
replace them.
"""

import json
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from mlseg_core.files import write_json
from mlseg_dist.config import LearningConfig
from mlseg_dist.privacy.redaction import Redaction
from mlseg_dist.tracking.alerts import Alert, alert_of, done_alert, failed_alert, storms
from mlseg_dist.tracking.claim import Claim
from mlseg_dist.tracking.content import content_of
from mlseg_dist.tracking.lineage import lineage_of
from mlseg_dist.tracking.published import published
from mlseg_dist.tracking.rows import flatten, number, row
from mlseg_dist.tracking.run import Mode, Run, mark_sent, run_id

_SEEN_BYTES = 512


class Tail:
    """read() returns what is new. `restarted` is True after a read that began again at the first line."""

    def __init__(self, path: Path) -> None:
        self.path, self.offset, self.restarted = path, 0, False
        self._seen = b""

    def read(self) -> list[tuple[int, dict[str, Any]]]:
        """(offset of its end in bytes, record) of each new whole line; lines that are no JSON are left out.

        A cut is noticed by what lies before the offset: lines carry the time at which they were written.
        """
        self.restarted = False
        try:
            file = open(self.path, "rb")  # noqa: SIM115
        except FileNotFoundError:
            self.restarted, self.offset, self._seen = self.offset > 0, 0, b""
            return []
        with file:
            if self.offset:
                file.seek(self.offset - len(self._seen))
                if file.read(len(self._seen)) != self._seen:
                    self.restarted, self.offset = True, 0
            file.seek(self.offset)
            new = file.read()
        new = new[: new.rfind(b"\n") + 1]
        if new or self.restarted:
            self._seen = (new if self.restarted else self._seen + new)[-_SEEN_BYTES:]
        found = []
        for line in new.splitlines(keepends=True):
            self.offset += len(line)
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                found.append((self.offset, record))
        return found


_OLD_S = 24 * 3600.0


class Follower:
    """poll() sends what is new; close() ends the W&B run. Both raise what files and wandb raise.

    Names of slides and patients go out as pseudonyms (redaction.py). Raises UserError where their key is another user's.
    Online, W&B itself says which rows it has; alerts already sent are kept in wandb/sent-online.json. Offline, every start and
    every cut of metrics.jsonl begins a new run folder that holds all lines.
    """

    def __init__(
        self,
        config: LearningConfig,
        phase: Path,
        mode: Mode,
        project: str | None = None,
        watched_pid: int | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.config, self.phase, self.mode, self.say = config, phase, mode, say
        self.id = run_id(phase)
        self._open_run = lambda: Run(config, phase, mode, self._redaction, project, watched_pid)
        self._claim = Claim(phase / "wandb" / f"sender-{mode}.json")
        self._sent_path = phase / "wandb" / f"sent-{mode}.json"
        self._run: Run | None = None
        self._label = f"{config.name}/{phase.name}"
        self._told_holder = ""
        self._begin_again()

    @property
    def is_complete(self) -> bool:
        """The phase is done, and all that it left is sent."""
        return bool(self._sent.get("complete"))

    @property
    def standing(self) -> str:
        """What was sent, in a few words."""
        last = self._run.last if self._run else -1
        words = [f"step {last // 2}" if self._metrics.offset else "", "done" if self.is_complete else ""]
        return ", ".join(filter(None, words)) or "events"

    def is_waiting_for_the_dead(self) -> bool:
        """The claim is another's, who is gone; the next poll() has it."""
        return self._run is None and self._has_news() and self._claim.is_about_to_be_ours()

    def _begin_again(self) -> None:
        self._metrics, self._events = Tail(self.phase / "metrics.jsonl"), Tail(self.phase / "events.jsonl")
        self._sent = _read(self._sent_path)
        self._excluded = 0
        self._started: list[dict[str, Any]] = []
        self._counts: dict[str, int] = {}
        self._files: dict[str, int] = {}

    def poll(self) -> bool:
        """Returns True when something was sent."""
        self.__dict__.pop("_redaction", None)  # the corpus may have appeared since
        if not self._claim.held():
            holder = self._claim.holder() or {}
            who = f"process {holder.get('pid')} on {holder.get('host')}"
            if holder and who != self._told_holder:
                self._told_holder = who
                self.say(f"{self._label}: sent to W&B by {who}; waiting for it to end")
            return False
        if self._run is None:
            if not self._has_news():
                return False
            self._start()
        sent = self._poll_metrics()
        sent |= self._poll_events()
        sent |= self._poll_outcome()
        if sent:
            self._keep()
        return sent

    def close(self) -> None:
        """Wait until all is written (offline) or sent (online), and let others send."""
        if self._run is not None:
            self._run.finish()
            self._run = None
            self._sent["files"] = self._files
            self._keep()
            if self.mode == "online" and self.is_complete:
                mark_sent(self.phase)
        self._claim.release()

    def abandon(self) -> None:
        """Let others send, after wandb itself was torn down."""
        self._run = None
        self._claim.release()

    @cached_property
    def _redaction(self) -> Redaction:
        """Knows the names that are known now."""
        return Redaction(self.phase.parents[1])

    def _shown(self, text: str) -> str:
        return self._redaction.text(text)

    def _start(self) -> None:
        self._begin_again()
        if self.mode == "offline":
            self._sent = {}
        self._run = self._open_run()
        if self.mode == "online" and not self._run.resumed:
            self._sent = {}  # W&B has never seen it, or it was deleted there

    def _has_news(self) -> bool:
        """Something that is not in the last run that was closed."""
        now = self._sizes()
        return bool(now) and now != _read(self._sent_path).get("files")

    def _sizes(self) -> dict[str, int]:
        sizes = {}
        for name in ("metrics.jsonl", "events.jsonl", "done.json", "teacher.json"):
            try:
                sizes[name] = (self.phase / name).stat().st_size
            except FileNotFoundError:
                continue
        attempt = _failed_attempt(self.phase)
        return sizes | ({f"failed {attempt['attempt']}": 1} if attempt else {})

    def _poll_metrics(self) -> bool:
        assert self._run is not None
        self._files = self._sizes()
        lines = self._metrics.read()
        if self._metrics.restarted:
            self._excluded = 0
            if self.mode == "offline":  # what was taken back is not to stay in the file
                self._run.finish()
                self._start()
                lines = self._metrics.read()
        sent = False
        for _, line in lines:
            if line.get("kind") == "order":
                self._run.summary(flatten({"pairs": line["pairs"], "passes": line["passes"]}, "order/"))
                sent = True
            elif line.get("kind") == "excluded":
                self._excluded += 1
            elif line.get("kind") in ("train", "val"):
                place = number(line)
                if place > self._run.last:
                    pictures = self._run.pictures(line["step"]) if line["kind"] == "val" else {}
                    sent |= self._run.log(place, row(line, self._excluded) | pictures)
        return sent

    def _poll_events(self) -> bool:
        assert self._run is not None
        sent = False
        for end, event in self._events.read():
            name = str(event.get("event", ""))
            self._counts[f"events/{name}"] = self._counts.get(f"events/{name}", 0) + 1
            if name == "started":
                self._started.append(event)
            if end > self._sent.get("events", 0):
                self._sent["events"] = end
                alert = alert_of(event, self._label)
                if alert and self._is_recent(float(event.get("time", 0))):
                    self._alert(alert)
                sent = True
        if sent:
            self._run.summary(self._counts)
            for alert in storms(self._started, self._label):
                if self._is_recent(float(alert.key.split()[1])):
                    self._alert(alert)
        return sent

    def _poll_outcome(self) -> bool:
        """The contents of done.json and state.json, and what was made of what."""
        assert self._run is not None
        failed = _failed_attempt(self.phase)
        sent = bool(failed) and self._alert(failed_alert(self._label, failed))
        done = _read(self.phase / "done.json")
        if done or (self.phase / "teacher.json").exists():  # a step's job ends before the step is recorded as done
            sent |= self._run.lineage(lineage_of(self.config, self.phase))
        if done and not self._sent.get("complete"):
            rows, figures = published(self.phase, done)
            for place, fields in rows:
                self._run.log(place, fields)
            shown = self._run.content(content_of(self.phase, done, self._redaction.names))
            if shown:
                self._run.log(self._run.last + 1, shown)
            self._run.summary(figures)
            if self._is_recent(float(done.get("ended", 0))):
                self._alert(done_alert(self._label, float(done.get("seconds", 0))))
            self._sent["complete"] = sent = True
        return sent

    def _alert(self, alert: Alert) -> bool:
        """Send it, once a key."""
        assert self._run is not None
        keys = self._sent.setdefault("alerts", [])
        if alert.key in keys:
            return False
        if alert.key:
            keys.append(alert.key)
        self._run.alert(alert, self._shown(alert.text))
        return True

    def _is_recent(self, when: float) -> bool:
        """Nobody is called for what happened days ago; it is counted in the summary all the same."""
        return self.mode == "offline" or time.time() - when < _OLD_S

    def _keep(self) -> None:
        write_json(self._sent_path, self._sent)


def _failed_attempt(phase: Path) -> dict[str, Any]:
    state = _read(phase / "state.json")
    return state if state.get("status") in ("failed", "user error") and "attempt" in state else {}


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
