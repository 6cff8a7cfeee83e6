"""What lies beside the shards: seeds, overviews, quarantine.csv, files that nobody will read. In: folder, manifest."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mlseg_core.errors import UserError
from mlseg_core.files import TEMPORARY
from shards.manifest import Manifest
from shards.sample import decode_label, decode_rgb
from shards.seeds import read_seeds, seeds_name
from shards.tar import index_path
from shards.verify.finding import Finding


def overview_faults(folder: Path, manifest: Manifest) -> Iterator[Finding]:
    """Overviews that the manifest names and that are missing or cannot be shown."""
    for row in manifest.slides:
        if row.overview:
            try:
                path = folder / row.overview
                if json.loads(path.read_text(encoding="utf-8"))["slug"] != row.slug:
                    raise ValueError(f"is not of slide {row.slug}")
                decode_rgb(path.with_suffix(".thumb.jpg").read_bytes())
                decode_label(path.with_suffix(".tissue.png").read_bytes())
            except (OSError, ValueError, KeyError, TypeError) as error:
                yield Finding(row.overview, "", f"cannot be shown ({error})")


def seed_faults(folder: Path, manifest: Manifest) -> Iterator[Finding]:
    """The file of seeds against the manifest and against every index that can be read."""
    name = seeds_name(manifest)
    if name is None:  # a corpus from before there was one
        return
    if Path(name).name != name:
        yield Finding("manifest.json", "", f"the name of the seeds, {name!r}, leads out of the folder")
        return
    try:
        seeds = read_seeds(folder, manifest)
    except UserError as error:
        yield Finding(name, "", error.what)
        return
    first = 0
    for shard in manifest.shards:
        part = seeds[first : first + shard.samples]
        first += shard.samples
        try:
            index = np.load(index_path(folder / shard.name), allow_pickle=False)
            same = np.array_equal(index["seed"], part)
        except (OSError, ValueError, EOFError, IndexError):
            continue  # told of the shard itself
        if not same:
            yield Finding(name, "", f"does not say what the index of {shard.name} says")


def left_over(folder: Path, manifest: Manifest) -> Iterator[Finding]:
    """Warnings: files without a reader, and a quarantine list that does not fit."""
    listed = {entry.name for entry in manifest.shards}
    for path in sorted(folder.glob("*.tar")):
        if path.name not in listed and not path.name.startswith(TEMPORARY):
            yield Finding(path.name, "", "no manifest lists it (superseded or stray)")
    known = {index_path(Path(name)).name for name in listed}
    for path in sorted(folder.glob("*.index.npy")):
        tar = path.name.removesuffix(".index.npy") + ".tar"
        if path.name not in known and not path.name.startswith(TEMPORARY) and not (folder / tar).exists():
            yield Finding(path.name, "", "an index without a tar")
    for path in sorted(folder.glob("seeds-*.npy")):
        if path.name != seeds_name(manifest):
            yield Finding(path.name, "", "the manifest does not name it (superseded or stray)")
    for path in sorted(folder.rglob(f"{TEMPORARY}*")):
        yield Finding(path.relative_to(folder).as_posix(), "", "a temporary file of a run that was interrupted")
    quarantined = {row.slug for row in manifest.slides if row.quarantined}
    try:
        with open(folder / "quarantine.csv", newline="", encoding="utf-8") as file:
            told = {row.get("slug") for row in csv.DictReader(file)}
    except FileNotFoundError:
        told = set()
    except (OSError, ValueError, csv.Error) as error:
        yield Finding("quarantine.csv", "", f"cannot be read ({error})")
        return
    if told != quarantined:
        yield Finding("quarantine.csv", "", "does not list the slides that the manifest has in quarantine")
