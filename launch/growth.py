"""A corpus that grows: what was added or corrected in the slide table, slides and annotations since a campaign's shards were cut.

Such a campaign goes on with the shards that it has until a person accepts the change. Then only the slides that it concerns are cut
again, and every phase that read the shards is done anew.
"""

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from launch.config import CampaignConfig
from launch.run_folder import RunFolder
from mlseg_core.errors import UserError
from mlseg_dist.run_folder import shards_folder


@dataclass(frozen=True)
class Growth:
    """Slides of the table that are to be cut, that stay, and that are in it no more. first: one of the changed ones, and why."""

    cut: int
    stay: int
    drop: int
    first: str

    def __str__(self) -> str:
        parts = [f"{self.cut} to cut" if self.cut else "", f"{self.drop} to drop" if self.drop else ""]
        counts = ", ".join(part for part in parts if part)
        return f"slides changed: {counts}, {self.stay} stay as they are; first: {self.first}"


def keeps_shards(config: CampaignConfig, run: RunFolder) -> bool:
    """Whether shards that are there can be continued, slide by slide: they were cut from a table, with the same settings."""
    if config.slides is None or not (shards_folder(run.path) / "manifest.json").is_file():
        return False
    try:
        return run.config().shards.decides() == config.shards.decides()
    except UserError:
        return False  # recorded by other code


def growth(config: CampaignConfig, run: RunFolder) -> Growth | None:
    """What changed since the shards were cut; None: nothing, or they cannot be continued (keeps_shards).

    Files are only looked at while none is newer than the shards' manifest, by the time at which the file system last changed it.
    Raises UserError for a table that makes no sense.
    """
    if not keeps_shards(config, run):
        return None
    assert config.slides is not None
    folder = shards_folder(run.path)
    cut_at = (folder / "manifest.json").stat().st_ctime_ns
    if not any(_ctime_ns(path) > cut_at for path in _files(config.slides)):
        return None
    from shards import cutting

    found = cutting.changes(cutting.plan_cut(config.shards, config.slides, folder), folder)
    counts = Counter(change.action for change in found)
    changed = [change for change in found if change.action != "keep"]
    if not changed:
        return None
    first = f"{changed[0].slide} ({changed[0].why})"
    return Growth(counts["cut"], counts["keep"], counts["drop"], first)


def _files(table: Path) -> Iterable[Path]:
    from shards.cutting.identity import slide_files
    from shards.slide_table import read_slide_table

    yield table
    for slide in read_slide_table(table):
        if slide.annotation is not None:
            yield slide.annotation
        with suppress(OSError):  # cutting says what is wrong with it
            yield from slide_files(slide.slide)


def _ctime_ns(path: Path) -> int:
    """0 where the file is missing, too: cutting says so if that matters."""
    try:
        return path.stat().st_ctime_ns
    except OSError:
        return 0
