"""How much gan_style makes: pairs of styles, and samples to be styled; from the corpus, or before it from the table of slides."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from launch.config import CampaignConfig
from launch.graph import Phase
from launch.phases import slide_table
from launch.run_folder import RunFolder
from mlseg_core.errors import UserError
from mlseg_dist.style.pairs import StylePair, pairs_among, styles
from shards.manifest import Manifest
from shards.slide_table import read_slide_table


@dataclass(frozen=True)
class Styling:
    """pairs: generators.  samples: that their styled shards will hold."""

    pairs: int = 0
    samples: int = 0


def styling(
    config: CampaignConfig, graph: Sequence[Phase], run: RunFolder, corpus: Manifest | None, train_pairs: int
) -> Styling:
    """corpus: its manifest, once there is one.  train_pairs: pairs of patches in the train split.

    Raises UserError for styles that the slides do not have.
    """
    if not any(phase.kind == "style" for phase in graph):
        return Styling()
    if corpus is not None:
        of_style = styles(corpus, config.style.by)
        samples = {name: sum(shard.samples for shard in shards) for name, shards in of_style.items()}
    else:
        slides = Counter(styles_of_slides(config, run))
        if not slides:
            return Styling()
        samples = {name: round(train_pairs * count / slides.total()) for name, count in slides.items()}
    pairs = pairs_among(config.style, sorted(samples))
    return Styling(len(pairs), sum(samples[name] * _targets(config, name, pairs) for name in samples))


def _targets(config: CampaignConfig, source: str, pairs: Sequence[StylePair]) -> int:
    count = sum(pair.source == source for pair in pairs)
    return count if config.style.targets_per_shard is None else min(count, config.style.targets_per_shard)


def styles_of_slides(config: CampaignConfig, run: RunFolder) -> list[str]:
    """The style of each slide of the train split that says it; empty where no table says what slides there will be."""
    table = slide_table(config, run)
    if config.slides is not None or table.exists():
        found = [getattr(slide, config.style.by) for slide in read_slide_table(table) if slide.split == "train"]
    elif config.phantom is not None:
        from shards.phantom.table import rows

        drawn = [row.specimen for row in rows(config.phantom) if row.split == "train"]
        found = [getattr(specimen, config.style.by) for specimen in drawn]
    else:
        return []
    return [style for style in found if style]


def check_styles(config: CampaignConfig, graph: Sequence[Phase], run: RunFolder) -> list[StylePair]:
    """The pairs that the slides will give; empty where that cannot be known yet. Raises UserError when there are none."""
    slides = styles_of_slides(config, run) if any(phase.kind == "style" for phase in graph) else []
    if not slides:
        return []
    try:
        return pairs_among(config.style, sorted(set(slides)))
    except UserError as error:
        readers = [phase.name for phase in graph if phase.kind == "train" and "style" in phase.inputs]
        raise UserError(f"{error.what} (gan_style of {', '.join(readers)})", error.where, error.fix) from None
