"""How much a campaign works through and writes: pairs and bytes, counted where they exist, estimated where they do not.

In: the config, the run folder, the slide table. Out: pairs a split, bytes a phase.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from launch.config import CampaignConfig
from launch.estimate.network_sizes import parameters
from launch.estimate.styling import Styling, styling
from launch.graph import Phase
from launch.phases import slide_table
from launch.run_folder import RunFolder
from mlseg_core.errors import UserError
from mlseg_core.files import read_json
from mlseg_dist.config import StepConfig
from mlseg_dist.run_folder import labels_folder, shards_folder, styled_folder
from shards.manifest import Manifest, read_manifest
from shards.slide_table import Slide, read_slide_table
from shards.time_limit import OPENING_S, each_within

PAIR_BYTES_PER_PX = 0.75
"""A stored pair, per px of its two views: 0.74 in the demo's and 0.75 in GlaS's shards; real slides take 0.3 to 0.5."""
LABEL_BYTES_PER_PX = 0.2
LABEL_BYTES_PER_PAIR = 3000
"""A pair's pseudo-labels take this and LABEL_BYTES_PER_PX of both views at the labels' resolution: 4.3 to 6.9 kB at 192 px,
stride 2, in the demo and GlaS."""
GENERATOR_BYTES = 52_000_000
"""A pair of styles at the default sizes: three checkpoints at a time, and the weights."""
STYLED_BYTES_PER_PX = 0.75
"""A styled pair, per px of its two views: 0.69 in the demo."""
PHANTOM_BYTES_PER_PX = 0.5
"""A phantom slide, per px of level 0: its pyramid and annotation (0.46 in the demo)."""
TILE_SLIDE_BYTES = 1_200_000
"""A slide made from an imported tile (1.08 MB in GlaS)."""
PASS_BYTES = 250_000
"""One network's counts on one slide, with a small picture of them: 136 to 185 kB in the demo."""
EXAMPLE_BYTES, WORST_BYTES = 350_000, 600_000
"""An example picture, and a picture of one of a split's worst slides: at most 289 kB and 495 kB in the demo."""
WORST_SLIDES = 6
"""How many slides of a split are drawn."""
PAGE_BYTES = 3_000_000
"""At most, of the report's page without its pictures."""
STEP_BYTES = 2500
"""metrics.jsonl, log and W&B, a training step."""
_LOOKED_AT = 64
_THREADS = 8


@dataclass(frozen=True)
class Amounts:
    """pairs: split -> pairs.  base: pairs of the train split with an annotated class.  counted: False if they are upper bounds.

    slides: number of slides.  slides_of: split -> slides.
    styling: what gan_style makes.  bytes: phase -> bytes that it writes (a done one: has written).
    """

    slides: int
    pairs: dict[str, int]
    base: int
    counted: bool
    bytes: dict[str, int] = field(default_factory=dict)
    styling: Styling = field(default_factory=Styling)
    slides_of: dict[str, int] = field(default_factory=dict)

    @property
    def all_pairs(self) -> int:
        return sum(self.pairs.values())


def measure(config: CampaignConfig, graph: Sequence[Phase], run: RunFolder) -> Amounts:
    """Raises UserError when a slide table or a manifest cannot be read."""
    path = shards_folder(run.path) / "manifest.json"
    corpus = read_manifest(path) if path.exists() else None
    amounts = _counted(config, corpus) if corpus is not None else _expected(config, run)
    amounts = replace(amounts, styling=styling(config, graph, run, corpus, amounts.pairs.get("train", 0)))
    return replace(amounts, bytes={phase.name: _bytes(config, phase, run, amounts) for phase in graph})


def training_steps(config: CampaignConfig, step: StepConfig, amounts: Amounts) -> int:
    """Optimizer steps of a row of Table 8. Later rows also draw accepted tissue pairs: for them it is an upper bound."""
    people_alone = step == config.steps[0] or step.teach == "human"
    pairs = amounts.base if people_alone else amounts.pairs.get("train", 0)
    return config.train.total_steps(step.epochs, pairs)


def _counted(config: CampaignConfig, corpus: Manifest) -> Amounts:
    pairs: Counter[str] = Counter()
    base = 0
    for shard in corpus.shards:
        pairs[shard.split] += shard.samples
        if shard.split == "train":
            learnt = {name: count for name, count in shard.seeds.items() if name in config.training_classes}
            base += sum(count for name, count in learnt.items() if config.training_classes[name] != 255)
    slides_of = Counter(slide.split for slide in corpus.slides if not slide.quarantined)
    return Amounts(len(corpus.slides), dict(pairs), base, True, slides_of=dict(slides_of))


def _expected(config: CampaignConfig, run: RunFolder) -> Amounts:
    table = slide_table(config, run)
    if config.slides is not None or table.exists():
        return _pairs_of_table(config, table)
    return _pairs_of_drawn(config, run)


def _pairs_of_table(config: CampaignConfig, table: Path) -> Amounts:
    """Seeds as `shards build` will choose them, were there tissue everywhere; of many slides only some are looked at."""
    slides = read_slide_table(table)
    pairs: Counter[str] = Counter()
    base = 0.0
    for split in {slide.split for slide in slides}:
        members = [slide for slide in slides if slide.split == split]
        chosen = [members[i] for i in np.unique(np.linspace(0, len(members) - 1, _LOOKED_AT).round().astype(int))]

        def count(slide: Slide) -> tuple[int, int]:
            return _seeds(config, slide)

        counts = each_within(count, chosen, _THREADS, OPENING_S, lambda slide: (0, 0))
        pairs[split] = round(sum(seeds for seeds, _ in counts) * len(members) / len(chosen))
        if split == "train":
            base = sum(annotated for _, annotated in counts) * len(members) / len(chosen)
    return Amounts(
        len(slides), dict(pairs), round(base), False, slides_of=dict(Counter(slide.split for slide in slides))
    )


def _seeds(config: CampaignConfig, slide: Slide) -> tuple[int, int]:
    """Patches of a slide, and those with a class to learn; none of a slide that will be quarantined."""
    from shards.annotation import UNLABELLED, Frame, read_annotation
    from shards.audit.tissue import TissueMask
    from shards.reader import open_slide
    from shards.sampling import choose_seeds

    try:
        with open_slide(slide, config.shards.high_mpp) as reader:
            size, mpp, frame = reader.size, reader.mpp, Frame.of(reader, slide.origin)
        drawn = None if slide.annotation is None else read_annotation(slide.annotation, config.shards, frame)
    except UserError:
        return 0, 0
    everywhere = TissueMask(np.ones((1, 1), bool), (float(size[0]), float(size[1])))
    seeds = choose_seeds(config.shards, slide.slug, slide.split, size, mpp, drawn, everywhere).seeds
    names = config.shards.fine_classes
    fine = [seed.fine for seed in seeds if seed.fine != UNLABELLED]
    return len(seeds), sum(config.training_classes[names[number]] != 255 for number in fine)


def _pairs_of_drawn(config: CampaignConfig, run: RunFolder) -> Amounts:
    """For slides that are yet to be made: the caps, and what the area holds."""
    shards = config.shards
    if config.phantom is None:
        from shards import tiles

        assert config.tiles is not None
        count = len(tiles.units(config.tiles))
        return Amounts(count, {}, 0, False)
    phantom = config.phantom
    area = phantom.size_um**2
    on_grid = int(area * phantom.annotated / shards.stride_um**2)
    caps = [shards.class_caps.get(name, shards.max_per_class) for name in shards.fine_classes]
    annotated = min(on_grid, sum(caps))
    tissue = min(shards.max_tissue, int(area / shards.tissue_stride_um**2)) if shards.tissue_stride_um else 0
    slides = {split: getattr(phantom, split.replace("-", "_")) for split in ("train", "val", "test")}
    slides |= {"dev-unseen": phantom.dev_unseen, "final-unseen": phantom.final_unseen}
    pairs = {split: number * (annotated + (tissue if split == "train" else 0)) for split, number in slides.items()}
    return Amounts(sum(slides.values()), pairs, slides["train"] * annotated, False, slides_of=slides)


def _bytes(config: CampaignConfig, phase: Phase, run: RunFolder, amounts: Amounts) -> int:
    if phase.kind == "slides":
        return _slides_bytes(config, amounts)
    if phase.kind == "shards":
        if amounts.counted:
            return _bytes_of(shards_folder(run.path) / "manifest.json")
        return round(amounts.all_pairs * PAIR_BYTES_PER_PX * 2 * config.shards.store_px**2)
    if phase.kind == "generators":
        return amounts.styling.pairs * GENERATOR_BYTES
    if phase.kind == "style":
        path = styled_folder(run.path) / "manifest.json"
        if path.exists():
            return _bytes_of(path)
        return round(amounts.styling.samples * STYLED_BYTES_PER_PX * 2 * config.shards.store_px**2)
    if phase.kind == "label":
        path = labels_folder(run.path, phase.step) / "manifest.json"
        if path.exists():
            return _bytes_of(path)
        side = config.shards.store_px / config.steps[phase.step - 1].label.stride
        return round(amounts.pairs.get("train", 0) * (LABEL_BYTES_PER_PAIR + LABEL_BYTES_PER_PX * 2 * side**2))
    if phase.kind == "train":
        return _training_bytes(config, config.steps[phase.step], amounts)
    pictures = _picture_bytes(config, amounts)
    return pictures + (PAGE_BYTES if phase.kind == "report" else evaluation_passes(config, amounts) * PASS_BYTES)


def evaluation_passes(config: CampaignConfig, amounts: Amounts) -> int:
    """Slides to evaluate, once for each step."""
    slides = sum(amounts.slides_of.get(split, 0) for split in config.evaluate.splits)
    return slides * len(config.evaluate.steps or config.steps)


def _picture_bytes(config: CampaignConfig, amounts: Amounts) -> int:
    worst = sum(min(WORST_SLIDES, amounts.slides_of.get(split, 0)) for split in config.evaluate.splits)
    return worst * WORST_BYTES + len(config.evaluate.splits) * config.evaluate.pictures * EXAMPLE_BYTES


def _bytes_of(path: Path) -> int:
    """What a published manifest says; its shards, 100,000 perhaps, are not looked at one by one."""
    return int(read_json(path)["totals"]["bytes"])


def _slides_bytes(config: CampaignConfig, amounts: Amounts) -> int:
    if config.phantom is None:
        return 0 if config.tiles is None else amounts.slides * TILE_SLIDE_BYTES
    side = config.phantom.size_um / config.phantom.mpp
    return round(amounts.slides * side**2 * PHANTOM_BYTES_PER_PX)


def _training_bytes(config: CampaignConfig, step: StepConfig, amounts: Amounts) -> int:
    """Checkpoints hold the parameters and Adam's two moments in fp32; one more exists while it is written, and the best."""
    steps, size = training_steps(config, step, amounts), 4 * parameters(step.model, config.shards.ratio)
    whole = size * (3 + (config.train.ema is not None))
    permanent = math.floor(steps / config.train.keep_every) if config.train.keep_every else 0
    return whole * (config.train.keep_checkpoints + 2 + permanent) + size + steps * STEP_BYTES
