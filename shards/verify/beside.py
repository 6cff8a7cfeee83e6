"""What lies beside the shards: seeds, overviews, quarantine.csv, files that nobody will read. In: folder, manifest."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from mlseg_core.csv_text import read_table
from mlseg_core.errors import UserError
from mlseg_core.files import TEMPORARY
from mlseg_core.own import is_temporary
from shards.manifest import Manifest, by_shard, read_seeds, seeds_name
from shards.sample import decode_label, decode_rgb
from shards.verify.finding import Finding


def overview_faults(folder: Path, manifest: Manifest) -> Iterator[Finding]:
    """Overviews that the manifest names and that are missing or cannot be shown."""
    for row in manifest.slides:
        if row.overview:
            try:
                path = folder / row.overview
                facts = json.loads(path.read_text(encoding="utf-8"))
                if facts["slug"] != row.slug:
                    raise ValueError(f"is not of slide {row.slug}")
                inside = facts.get("inside")  # an earlier version did not say it
                if row.inside is not None and inside is not None and inside != row.inside.model_dump(mode="json"):
                    yield Finding(
                        row.overview, "", "says that another part of the views lies on the slide than the manifest"
                    )
                decode_rgb(path.with_suffix(".thumb.jpg").read_bytes())
                decode_label(path.with_suffix(".tissue.png").read_bytes())
            except (OSError, ValueError, KeyError, TypeError) as error:
                yield Finding(row.overview, "", f"cannot be shown ({error})")


def seed_faults(folder: Path, manifest: Manifest, said: Mapping[str, np.ndarray]) -> Iterator[Finding]:
    """The file of seeds against the manifest and against what samples say. said: shard name -> uint8 (samples,).

    Those of labels also depend on the corpus, which is not here.
    """
    name = seeds_name(manifest)
    if name is None:
        if manifest.kind != "styled":
            yield Finding("manifest.json", "", "names no file of seeds")
        return
    try:
        seeds = read_seeds(folder, manifest)
    except UserError as error:
        yield Finding(name, "", error.what)
        return
    for shard, part in by_shard(manifest, seeds):
        if shard.name in said and len(said[shard.name]) == len(part) and (said[shard.name] != part).any():
            yield Finding(name, "", f"does not say what the samples of {shard.name} say")


def left_over(folder: Path, manifest: Manifest) -> Iterator[Finding]:
    """Warnings: files without a reader, and a quarantine list that does not fit."""
    listed = {entry.name for entry in manifest.shards}
    for path in sorted(folder.glob("*.tar")):
        if path.name not in listed and not path.name.startswith(TEMPORARY):
            yield Finding(path.name, "", "no manifest lists it (superseded or stray)")
    for path in sorted(folder.glob("seeds-*.npy")):
        if path.name != seeds_name(manifest):
            yield Finding(path.name, "", "the manifest does not name it (superseded or stray)")
    for path in sorted(path for path in folder.rglob(f"{TEMPORARY}*") if is_temporary(path.name)):
        yield Finding(path.relative_to(folder).as_posix(), "", "a temporary file of a run that was interrupted")
    quarantined = {row.slug for row in manifest.slides if row.quarantined}
    try:
        told = {row.get("slug") for row in read_table(folder / "quarantine.csv").rows}
    except FileNotFoundError:
        told = set()
    except (OSError, UserError) as error:
        yield Finding("quarantine.csv", "", f"cannot be read ({error})")
        return
    if told != quarantined:
        yield Finding("quarantine.csv", "", "does not list the slides that the manifest has in quarantine")
