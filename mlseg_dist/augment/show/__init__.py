"""Pictures of a campaign's augmentation, for people. In: its steps, a corpus. Out: PNGs and one page. No torch."""

from pathlib import Path

from mlseg_core.files import write_atomic
from mlseg_dist.config import LearningConfig

__all__ = ["write"]


def write(config: LearningConfig, shards: Path, out: Path, seed: int) -> Path:
    """Write OUT/index.html, op-NAME.png, policy-NAME.png and spread.png; returns the page. seed: of the draws. Raises UserError."""
    from mlseg_dist.augment.show.page import render  # matplotlib loads slowly
    from mlseg_dist.augment.show.sources import read_sources

    page, pictures = render(read_sources(config, shards), seed)
    out.mkdir(parents=True, exist_ok=True)
    for name, data in pictures.items():
        write_atomic(out / name, data)
    write_atomic(out / "index.html", page)
    return out / "index.html"
