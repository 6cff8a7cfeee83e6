"""Pictures of a campaign's augmentation, for people. In: its steps, a corpus. Out: PNGs and one page. No torch."""

from pathlib import Path

from mlseg_core.files import write_atomic
from mlseg_core.own import is_page, refuse_foreign
from mlseg_dist.config import LearningConfig

__all__ = ["write"]


def write(config: LearningConfig, shards: Path, out: Path, seed: int) -> Path:
    """Write OUT/index.html, op-NAME.png, policy-NAME.png and spread.png; returns the page. seed: of the draws.

    Raises UserError, also for pictures and a page of somebody else that would be overwritten.
    """
    from mlseg_dist.augment.show.page import render  # matplotlib loads slowly
    from mlseg_dist.augment.show.sources import read_sources

    sources, page_path = read_sources(config, shards), out / "index.html"
    is_ours = page_path.is_file() and is_page(page_path, "augmentation")
    refuse_foreign(
        [page_path, out / "spread.png", *out.glob("op-*.png"), *out.glob("policy-*.png")], lambda path: is_ours
    )
    page, pictures = render(sources, seed)
    refuse_foreign([out / name for name in pictures], lambda path: is_ours)
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(page_path, page)  # first: it says that the pictures are ours
    for name, data in pictures.items():
        write_atomic(out / name, data)
    return page_path
