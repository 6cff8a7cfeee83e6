"""Which styles a corpus has, which (source -> target) pairs are wanted, and where a pair's generator lies."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlseg_core.errors import UserError
from mlseg_core.files import fingerprint
from mlseg_dist.style.config import StyleConfig
from shards.manifest import Manifest, ShardEntry

_LONGEST = 60
"""Letters of a style's name within a file name, so that the whole name, with a slide's slug, stays below 255 bytes."""


@dataclass(frozen=True)
class StylePair:
    """source, target: values of the slide table's column."""

    source: str
    target: str

    @property
    def name(self) -> str:
        """A plain folder name."""
        return f"{plain(self.source)}--{plain(self.target)}"


def plain(value: str) -> str:
    """A name for files; values that differ get names that differ."""
    name = re.sub(r"[^A-Za-z0-9_]+", "-", value).strip("-")
    return name if name == value and len(name) <= _LONGEST else f"{name[:24]}-{fingerprint(value)[:4]}"


def styles(manifest: Manifest, by: str) -> dict[str, list[ShardEntry]]:
    """Style -> shards of the train split. Slides that do not say theirs are left out."""
    style_of = {row.slug: getattr(row, by) for row in manifest.slides}
    found: dict[str, list[ShardEntry]] = {}
    for shard in manifest.of_splits("train"):
        style = style_of.get(shard.slide, "")
        if style and shard.samples:
            found.setdefault(style, []).append(shard)
    return dict(sorted(found.items()))


def wanted(config: StyleConfig, manifest: Manifest) -> list[StylePair]:
    """Raises UserError when the corpus has not what the config names, or but one style."""
    return pairs_among(config, list(styles(manifest, config.by)))


def pairs_among(config: StyleConfig, there: Sequence[str]) -> list[StylePair]:
    """there: the train split's styles.  Raises UserError as `wanted` does."""
    if config.pairs is None:
        if len(there) < 2:
            raise UserError(
                f"the train split has but one {config.by} ({', '.join(there) or 'none'}): there is nothing to style it as",
                "style.by",
                "Use the other column, or leave gan_style out.",
            )
        return [StylePair(source, target) for source in there for target in there if source != target]
    for names in config.pairs:
        unknown = [name for name in names if name not in there]
        if unknown:
            known = f"There are: {', '.join(there)}."
            raise UserError(f"no {config.by} {unknown[0]!r} in the train split", "style.pairs", known)
        if names[0] == names[1]:
            raise UserError(f"{names[0]} to itself is no pair", "style.pairs", "Leave it out.")
    if len(set(config.pairs)) != len(config.pairs) or not config.pairs:
        raise UserError("pairs must be named, each once", "style.pairs", "Leave `pairs` out for all of them.")
    return [StylePair(*names) for names in config.pairs]


def pairs_of(shard: str, pairs: Sequence[StylePair], most: int | None) -> list[StylePair]:
    """Those of `pairs` that a shard is styled by: at most so many, in an order that follows from its name."""
    return sorted(pairs, key=lambda pair: fingerprint([shard, pair.target]))[:most]


def generator_folder(out: Path, pair: StylePair) -> Path:
    """out: the folder that holds `generators` and `styled`."""
    return out / "generators" / pair.name
