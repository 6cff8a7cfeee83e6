"""One W&B run: the only place that talks to wandb. Online it is continued under its id; offline each start is whole.

W&B cannot append to an offline run. So every start writes the phase from its first line into a run folder of the same id,
and once that is closed the folders of earlier starts go: what `wandb sync` finds is one complete run.
"""

import contextlib
import io
import json
import os
import secrets
import time
from pathlib import Path
from typing import Any, Literal

from mlseg_core.files import publish_first, temporary_beside
from mlseg_core.own import remove_own
from mlseg_dist.config import LearningConfig
from mlseg_dist.privacy.redaction import Redaction
from mlseg_dist.tracking import media
from mlseg_dist.tracking.alerts import Alert, escape, escape_title
from mlseg_dist.tracking.content import Content
from mlseg_dist.tracking.lineage import Lineage, Reference
from mlseg_dist.tracking.own import LINKS, is_of_wandb
from mlseg_dist.tracking.rows import AXES, Axes

Mode = Literal["offline", "online"]
INIT_TIMEOUT_S = 60.0
_PROBE_S = 5.0


class Unreachable(Exception):
    """The W&B server does not answer, or does not let us in."""


class Run:
    """log(), summary() and alert() hand over to wandb's own process and return; finish() waits until all is written or sent.

    Slides and patients appear by their pseudonyms, and no paths (docs/privacy.md). Names that come as text pass through redaction.
    last: number of the newest row that W&B has (rows.number); rows up to it are dropped. watched_pid: whose CPU and GPU
    use W&B records; None: nobody's. phase: the folder that the run is of, a phase's or the campaign's. axes, job_type, name: of
    the campaign's run, instead of a phase's. Raises Unreachable, OSError.
    """

    def __init__(
        self,
        config: LearningConfig,
        phase: Path,
        mode: Mode,
        redaction: Redaction,
        project: str | None = None,
        watched_pid: int | None = None,
        axes: Axes = AXES,
        job_type: str = "",
        name: str = "",
    ) -> None:
        import wandb

        if mode == "online":
            probe()
        self.phase, self.mode = phase, mode
        self._redaction, self._with_images = redaction, config.tracking.images
        self._sent: set[str] = set()
        kind = job_type or phase.name.partition("-")[2]
        settings = wandb.Settings(
            init_timeout=INIT_TIMEOUT_S,
            console="off",
            silent=True,
            reinit="create_new",
            disable_code=True,
            disable_git=True,  # a remote's address may hold a token
            x_disable_meta=True,  # user, host, the paths of Python and of the run folder
            host="",
            x_disable_stats=watched_pid is None,
            x_disable_machine_info=watched_pid is None,
            x_save_requirements=False,
            x_stats_pid=watched_pid or os.getpid(),
        )
        try:
            self._run = wandb.init(
                project=project or config.tracking.project,
                group=config.name,
                job_type=kind,
                name=name or f"{config.name}/{phase.name}",
                id=run_id(phase),
                dir=str(phase),
                mode=mode,
                resume="allow" if mode == "online" else None,
                config=redaction.tree(shown_config(config)),
                settings=settings,
            )
        except wandb.errors.Error as error:
            raise Unreachable(f"wandb.init: {error}") from None
        self.last = self._run.starting_step - 1 if self._run.resumed else -1
        self.resumed = bool(self._run.resumed)
        for axis, over in axes:
            if not over:
                self._run.define_metric(axis, hidden=True)
            for metric in over:
                self._run.define_metric(metric, step_metric=axis)
        self._run.define_metric("val/miou", step_metric="step", summary="max")

    def log(self, number: int, row: dict[str, Any]) -> bool:
        """Send one row; False where W&B has it already."""
        if number <= self.last:
            return False
        self._run.log(row, step=number)
        self.last = number
        return True

    def pictures(self, step: int) -> dict[str, Any]:
        """Example predictions of a validation, as fields of its row, where the config wants them there."""
        import wandb

        examples = media.read_examples(self.phase, step) if self._with_images else []
        if not examples:
            return {}
        keys = [self._redaction.names.key(example.key) for example in examples]
        return {
            "examples": [
                wandb.Image(
                    example.view,
                    caption=key,
                    masks={
                        name: {"mask_data": getattr(example, name), "class_labels": media.CLASS_LABELS}
                        for name in ("prediction", "truth")
                    },
                )
                for key, example in zip(keys, examples, strict=True)
            ],
            "examples_in_colours": [
                wandb.Image(media.sheet(example), caption=f"{key}: view, truth, prediction")
                for key, example in zip(keys, examples, strict=True)
            ],
        }

    def content(self, shown: Content) -> dict[str, Any]:
        """Tables, drawings and, where the config wants them there, pictures of tissue, as fields of a row."""
        import wandb

        found: dict[str, Any] = {
            name: wandb.Table(columns=list(grid.columns), data=grid.rows, allow_mixed_types=True)
            for name, grid in shown.grids.items()
        }
        for name, svg in shown.drawings.items():
            found[name] = wandb.Html(svg.decode("utf-8"), inject=False, data_is_not_path=True)
        if self._with_images:
            for name, pictures in shown.pictures.items():
                found[name] = [
                    wandb.Image(str(one.path), caption=self._redaction.text(one.caption)) for one in pictures
                ]
        return found

    def lineage(self, lineage: Lineage) -> bool:
        """Log what was used and made as reference artifacts; each once. Returns True where one was new.

        A version is known by its hashes: the same corpus in two runs is one version, and the graph joins them.
        """
        asked = [*((one, True) for one in lineage.used), *((one, False) for one in lineage.made)]
        new = [(one, is_used) for one, is_used in asked if f"{is_used} {one.uri}" not in self._sent]
        for one, is_used in new:
            self._sent.add(f"{is_used} {one.uri}")
            self._artifact(one, is_used)
        return bool(new)

    def _artifact(self, one: Reference, is_used: bool) -> None:
        import wandb

        artifact = wandb.Artifact(one.name, type=one.kind, metadata={"sha256": one.sha256, **one.facts})
        with contextlib.redirect_stderr(
            io.StringIO()
        ):  # it warns that it cannot follow the reference, which it need not
            artifact.add_reference(one.uri, name=one.file, checksum=False)
        aliases = [one.alias] if one.alias else None
        if is_used:
            # What Run.use_artifact does with an artifact that is not logged yet; that itself refuses to be called offline.
            self._run._log_artifact(artifact, aliases=aliases, is_user_created=True, use_after_commit=True)
        else:
            self._run.log_artifact(artifact, aliases=aliases)

    def summary(self, figures: dict[str, Any]) -> None:
        self._run.summary.update(figures)

    def alert(self, alert: Alert, text: str) -> None:
        """text: the alert's, without names."""
        self._run.alert(escape_title(alert.title), escape(text), level=alert.level)

    def finish(self) -> None:
        folder = Path(self._run.dir).parent
        self._run.finish()
        if self.mode == "offline":
            for older in folder.parent.glob(f"offline-run-*-{run_id(self.phase)}"):
                if older != folder:
                    remove_own(older, is_of_wandb, LINKS)


def run_id(phase: Path) -> str:
    """Made once and kept in the phase's folder: a phase that is set aside and done anew is another run. Raises OSError."""
    path = phase / "wandb" / "run.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_beside(path)
        temporary.write_text(json.dumps({"id": f"{phase.name}-{secrets.token_hex(6)}"}), encoding="utf-8")
        publish_first(temporary, path)
    return str(json.loads(path.read_text(encoding="utf-8"))["id"])


def forget_id(phase: Path) -> None:
    """What is sent from now on is another run."""
    (phase / "wandb" / "run.json").unlink(missing_ok=True)


def mark_sent(phase: Path) -> None:
    """Tell `wandb sync` that the phase's offline runs are on the server: the same rows are not sent a second time."""
    for file in (phase / "wandb").glob(f"offline-run-*-{run_id(phase)}/*.wandb"):
        file.with_suffix(".wandb.synced").touch()


def shown_config(config: LearningConfig) -> dict[str, Any]:
    """What learning is told, and nothing about the cluster: its set-up lines may hold secrets. Paths are still in it."""
    return config.model_dump(mode="json", include=set(LearningConfig.model_fields))


def chosen_mode(config: LearningConfig) -> Mode:
    """tracking.mode; auto is online where WANDB_API_KEY is set."""
    if config.tracking.mode == "auto":
        return "online" if os.environ.get("WANDB_API_KEY") else "offline"
    return config.tracking.mode


def probe(timeout_s: float = _PROBE_S) -> None:
    """Raises Unreachable unless the W&B server answers anything at all: wandb.init would wait much longer."""
    import requests

    address = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    begun = time.monotonic()
    try:
        requests.get(address, timeout=timeout_s, stream=True).close()
    except requests.RequestException as error:
        waited = time.monotonic() - begun
        raise Unreachable(f"{address} does not answer ({type(error).__name__} after {waited:.1f} s)") from None
