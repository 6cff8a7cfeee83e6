"""Styled images beside a corpus: sidecar shards with the same keys in the same order, one for each (shard, target).

In: a folder with a manifest of kind `styled`. Out: where a draw's images lie. A sidecar is read where it lies, never copied
into the node-local cache: a draw in three takes one, so a copy would move several times what is read.
"""

from pathlib import Path

from mlseg_core.errors import UserError
from mlseg_core.files import sha256_file
from mlseg_dist.augment.style_ops import variant
from mlseg_dist.data.cache import ShardFile
from shards.manifest import ShardEntry, first_fault, read_manifest

IMAGES = ("high.jpg", "low.jpg")
MEMBERS = ("high.jpg", "json", "low.jpg")


class Styled:
    """folder: of the sidecars; corpus: the one they must have been made from. Raises UserError."""

    images = IMAGES

    def __init__(self, folder: Path, corpus: Path) -> None:
        self.folder, path = folder, folder / "manifest.json"
        if not path.exists():
            raise no_views(path)
        self.manifest = read_manifest(path)
        if self.manifest.kind != "styled" or self.manifest.members != MEMBERS:
            raise UserError(f"not a manifest of styled views (kind {self.manifest.kind})", path, FIX)
        if self.manifest.parents.get("corpus") != sha256_file(corpus / "manifest.json"):
            raise UserError("the styled views were made for another corpus", path, FIX)
        of_train = {shard.name: shard for shard in read_manifest(corpus / "manifest.json").of_splits("train")}
        self._variants: dict[str, list[ShardEntry]] = {}
        for entry in self.manifest.shards:
            source = of_train.get(entry.of)
            if source is None or source.samples != entry.samples:
                raise UserError(f"{entry.name} does not hold the samples of a shard of the train split", path, FIX)
            self._variants.setdefault(entry.of, []).append(entry)
        if not self._variants:
            raise UserError("the augmentation has gan_style, but there is no styled shard", path, FIX)

    def check(self) -> None:
        """Every sidecar is there in full, every index has the manifest's hash. Raises UserError."""
        fault = first_fault(self.folder, self.manifest.shards)
        if fault:
            raise UserError(fault, self.folder, "Style again: mlseg style apply CONFIG.")

    def source(self, shard: str, drawn: float) -> ShardFile | None:
        """The sidecar that a draw takes; None: that shard has none."""
        variants = self._variants.get(shard)
        return ShardFile(self.folder, variants[variant(drawn, len(variants))]) if variants else None


FIX = (
    "A campaign makes them (mlseg run); beside any corpus: mlseg style train CONFIG, then mlseg style apply CONFIG. "
    "Or take gan_style out of the step's augment."
)


def no_views(where: Path) -> UserError:
    """For a policy that draws styled views where there are none."""
    return UserError("the augmentation has gan_style, but no styled views are there", where, FIX)
