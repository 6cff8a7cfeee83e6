"""Every format that is fuzzed: which files, how they are read, and how other data is told from wrong data.

Where a checksum exists (shards, sidecars, their indices, seeds, checkpoints) other data is wrong, whatever it is. A manifest has
none of its own, but `shards verify` proves what it says by the shards, so what is neither refused nor found damaged has to be the
same. Slides, annotations, configs and tables have none: a changed digit may be another valid file. There a second reader,
which is not ours (readers.py), has to read the same out of it.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from launch.config import load_campaign
from mlseg_core.errors import UserError
from mlseg_core.files import fingerprint
from mlseg_dist.training.checkpoint.reading import Damaged, load
from shards import tiles
from shards.annotation import Frame, read_annotation
from shards.manifest import read_manifest, read_seeds
from shards.pyramids import Unreadable
from shards.reader import SlideReader
from shards.sample import MEMBERS
from shards.slide_table import read_slide_table
from shards.tar import BadShard, ShardReader
from shards.tiles_config import TilesConfig
from shards.verify.corpus import verify_corpus
from tests.fuzz import readers
from tests.fuzz.cases import Format
from tests.shards.annotation.files_for_tests import CONFIG

SIDECAR_MEMBERS = ("high.png", "json", "low.png")


def _sha256(*parts: bytes) -> str:
    return hashlib.sha256(b"|".join(parts)).hexdigest()[:16]


def _shard(name: str, members: tuple[str, ...]) -> Any:
    """Every sample, by its row alone, as training reads, and by the whole index: neither may give anything else."""

    def read(folder: Path) -> Any:
        found = {}
        for whole in (False, True):
            with ShardReader(folder / name, members) as shard:
                if whole:
                    shard.index_sha256, shard.index
                rows = [(shard.key(row), shard.read(row)) for row in range(len(shard))]
                found[whole] = [(key, _sha256(*parts.values())) for key, parts in rows]
        return found

    return read


def _manifest(folder: Path) -> Any:
    """What it says. `fingerprint` and `parents` are left out: no data comes of them; a changed one makes a phase invalid. Nor
    does any come of the names of classes that no pixel has.
    """
    manifest = read_manifest(folder / "shards" / "manifest.json")
    seeds = _sha256(read_seeds(folder / "shards", manifest).tobytes())
    damage = verify_corpus(folder / "shards", 1).damage
    if damage:
        raise UserError(f"{damage[0]}", folder)
    said = manifest.model_dump(mode="json", exclude={"fingerprint", "parents", "classes"})
    used = {name for shard in manifest.shards for name in (*shard.seeds, *shard.pixels)}
    said["classes"] = {name: number for number, name in enumerate(manifest.classes) if name in used}
    return fingerprint(said), seeds


def _seeds(folder: Path) -> Any:
    manifest = read_manifest(folder / "shards" / "manifest.json")
    return read_seeds(folder / "shards", manifest).tolist()


def _checkpoint(folder: Path) -> Any:
    state, cursor = load(folder / "step-00000003")
    return repr(sorted(state)), str(state), cursor


def _slide(name: str) -> Any:
    def read(folder: Path) -> Any:
        with SlideReader(folder / name) as slide:
            width, height = slide.size
            if width * height > 1 << 24:  # a whole slide is read in parts
                raise UserError("larger than any slide of the fuzzing", folder / name)
            rgb = slide.view((0.0, 0.0), (1.0, 1.0), slide.size)
            mpp = tuple(round(value, 4) for value in slide.mpp)
            return {"size": slide.size, "mpp": mpp, "bounds": slide.bounds, "pixels": _sha256(rgb.tobytes())}

    return read


def _slide_pixels(name: str) -> Any:
    def read(folder: Path) -> tuple[np.ndarray, tuple[float, float]]:
        with SlideReader(folder / name) as slide:
            return slide.view((0.0, 0.0), (1.0, 1.0), slide.size), slide.mpp

    return read


def _annotation(name: str) -> Any:
    def read(folder: Path) -> Any:
        found = read_annotation(folder / name, CONFIG, Frame((100, 100), (0.5, 0.5)))
        return found.label((0.0, 0.0), (1.0, 1.0), (100, 100)).tolist()

    return read


def _mask(folder: Path) -> Any:
    return [_annotation(name)(folder) for name in ("mask.png", "mask.tif")]


def _config(folder: Path) -> Any:
    return load_campaign(folder / "tiny.yaml", base=Path("/")).model_dump(mode="json")


def _slide_table(folder: Path) -> Any:
    return [[str(value) for value in vars(slide).values()] for slide in read_slide_table(folder / "slides.csv")]


def _tiles(folder: Path) -> Any:
    given = {"images": "images/{name}.png", "masks": "masks/{name}.png", "patient": "{who}", "split": "{split}"}
    config = TilesConfig(folder=folder, mpp=1.0, classes={"1": "Tumor"}, **given)  # type: ignore[arg-type]
    tiles.check(config)
    return [unit.payload[1] for unit in tiles.units(config)]


_OURS = (UserError, BadShard)


def _slide_format(kind: str, name: str) -> Format:
    second = readers.slide(_slide_pixels(name), name)
    return Format(f"slide: {kind}", (name,), _slide(name), (UserError, Unreadable), rightly=second)


def _drawing_format(kind: str, name: str, second: readers.Rightly) -> Format:
    return Format(f"annotation: {kind}", (name,), _annotation(name), (UserError,), text=True, rightly=second)


_MASKS = ("mask.png", "mask.tif")
FORMATS: dict[str, tuple[str, Format]] = {
    format.name: (material, format)
    for material, format in [
        ("corpus", Format("shard", ("a.tar",), _shard("a.tar", MEMBERS), _OURS)),
        ("corpus", Format("sidecar", ("sidecar.tar",), _shard("sidecar.tar", SIDECAR_MEMBERS), _OURS)),
        ("corpus", Format("index", ("a.tar",), _shard("a.tar", MEMBERS), _OURS, tail=readers.index_bytes)),
        ("corpus", Format("manifest", ("shards/manifest.json",), _manifest, _OURS, text=True)),
        ("corpus", Format("seeds", ("shards/seeds-*.npy",), _seeds, _OURS)),
        ("checkpoint", Format("checkpoint", ("step-00000003/*",), _checkpoint, (Damaged,))),
        ("tiff", _slide_format("tiled TIFF", "s.tif")),
        ("svs", _slide_format("Aperio SVS", "s.svs")),
        ("ome", _slide_format("OME-TIFF", "s.ome.tif")),
        ("scn", _slide_format("Leica SCN", "s.scn")),
        ("annotations", _drawing_format("GeoJSON", "a.geojson", readers.geojson)),
        ("annotations", _drawing_format("ASAP", "asap.xml", readers.xml("asap.xml"))),
        ("annotations", _drawing_format("Aperio", "aperio.xml", readers.xml("aperio.xml"))),
        ("annotations", Format("annotation: mask", _MASKS, _mask, (UserError,), rightly=readers.mask)),
        ("config", Format("config", ("tiny.yaml", "breast.yaml"), _config, (UserError,), True, readers.config)),
        ("tables", Format("table: slides", ("slides.csv",), _slide_table, (UserError,), True, readers.slide_table)),
        ("tables", Format("table: tiles", ("manifest.csv",), _tiles, (UserError,), True, readers.tile_table)),
    ]
}
"""Name -> the material that it needs, and the format."""
