"""What lies beside the shards: overviews, quarantine.csv, and files that nobody will read. In: folder, manifest."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from mlseg_core.files import TEMPORARY
from shards.manifest import Manifest
from shards.sample import decode_label, decode_rgb
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
