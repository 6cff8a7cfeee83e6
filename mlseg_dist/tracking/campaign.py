"""Sends the campaign's own W&B run, whose x axis is the step of the ladder. In: the run folder's files. Out: one run in RUN/wandb.

It is sent whole each time something was published: offline as a new run folder, which replaces the one before; online under the
same id, as long as what W&B has of it still holds. When a step or the evaluation was done anew, it is another run.
"""

from functools import cached_property
from pathlib import Path
from typing import Any

from mlseg_core.files import fingerprint, read_json, write_json
from mlseg_dist.config import LearningConfig
from mlseg_dist.privacy.redaction import Redaction
from mlseg_dist.tracking.claim import Claim
from mlseg_dist.tracking.content import of_evaluation
from mlseg_dist.tracking.run import Mode, Run, forget_id, mark_sent
from mlseg_dist.tracking.story import AXES, AXIS, Story, story_of

JOB_TYPE = "campaign"


class CampaignFollower:
    """poll() sends what is new. Raises Unreachable, OSError, and UserError for files that are damaged or keys of another user."""

    def __init__(self, config: LearningConfig, run: Path, mode: Mode, project: str | None = None) -> None:
        self.config, self.run, self.mode, self.project = config, run, mode, project
        self._claim = Claim(run / "wandb" / f"sender-{mode}.json")
        self._sent_path = run / "wandb" / f"sent-{mode}.json"

    def poll(self) -> bool:
        """Returns True when something was sent. Another process that sends it just now is left to it."""
        story = story_of(self.config, self.run)
        sent = self._sent
        if not story or sent.get("digest") == story.digest:
            return False
        try:
            if not self._claim.held() and not self._claim.held():  # the first look takes over from one that is gone
                return False
            self._send(story, sent)
        finally:
            self._claim.release()
        return True

    def _send(self, story: Story, sent: dict[str, Any]) -> None:
        self.__dict__.pop("_redaction", None)
        before, now = sent.get("rows", {}), {str(place): fingerprint(row) for place, row in story.rows.items()}
        if self.mode == "online" and any(now.get(place) != digest for place, digest in before.items()):
            forget_id(self.run)
            sent = {}
        run = Run(
            self.config,
            self.run,
            self.mode,
            self._redaction,
            self.project,
            axes=AXES,
            job_type=JOB_TYPE,
            name=f"{self.config.name}/campaign",
        )
        try:
            self._fill(run, story, sent.get("alerts", []) if self.mode == "online" else [])
        finally:
            run.finish()
        if self.mode == "online":
            mark_sent(self.run)
        write_json(
            self._sent_path, {"digest": story.digest, "rows": now, "alerts": [alert.key for alert in story.alerts]}
        )

    def _fill(self, run: Run, story: Story, told: list[str]) -> None:
        """told: keys of alerts that were sent before."""
        for place in sorted(story.rows):
            run.log(place, story.rows[place])
        last = 2 * len(self.config.steps)  # above the number of every row
        if story.evaluation is not None and story.folder is not None and run.last < last:
            shown = run.content(of_evaluation(story.evaluation, story.folder, self._redaction.names))
            run.log(last, {AXIS: len(story.evaluation["steps"]) - 1, **shown})
        run.lineage(story.lineage)
        run.summary(story.summary)
        for alert in story.alerts:
            if alert.key not in told:
                run.alert(alert, self._redaction.text(alert.text))

    @cached_property
    def _redaction(self) -> Redaction:
        return Redaction(self.run)

    @property
    def _sent(self) -> dict[str, Any]:
        if not self._sent_path.exists():
            return {}
        found = read_json(self._sent_path)
        return found if isinstance(found, dict) else {}
