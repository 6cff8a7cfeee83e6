"""Whole files of every format, small, in a folder of their own for each; made once a run."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import tifffile
import yaml

from mlseg_core.exactly_once.run import map_in_processes
from mlseg_dist.data.labels import encode
from mlseg_dist.events import Events
from mlseg_dist.training.checkpoint import Saver
from shards import cutting
from shards.sample import encode_json, encode_png
from shards.tar import ShardReader, write_shard
from tests.launch.conftest import CLASSES, tiny_campaign
from tests.mlseg_dist.training.checkpoint.saves import state_of
from tests.shards.annotation.files_for_tests import aperio, asap, feature, geojson, square
from tests.shards.slides_for_tests import HEADER, shards_config, tissue_slide, write_corpus, write_scn

MPP = 1.0
_SIDE = 320
_TIFF = {
    "tile": (128, 128),
    "photometric": "rgb",
    "metadata": None,
    "resolution": (1e4, 1e4),
    "resolutionunit": "CENTIMETER",
}


def corpus(folder: Path) -> None:
    """Two slides of a few pairs each, in `shards`, and a sidecar of one of them, sidecar.tar."""
    table = write_corpus(folder / "slides", slides=2)
    config = shards_config(max_per_class=2, stride_um=64.0)
    todo = cutting.units(config, table)
    map_in_processes(todo, cutting.cut, folder / "shards", 1, describe=cutting.describe)
    manifest = cutting.write_manifest(config, table, todo, folder / "shards")
    shutil.rmtree(folder / "slides")
    shutil.copy(folder / "shards" / manifest.shards[0].name, folder / "a.tar")
    random, samples = np.random.default_rng(5), []
    with ShardReader(folder / "a.tar", manifest.members) as shard:
        for row in range(len(shard)):
            high, low = (encode(random.dirichlet((1, 1, 1), (32, 32)).transpose(2, 0, 1)) for _ in range(2))
            info = encode_json({"version": 1, "of": shard.key(row), "device": "cpu"})
            samples.append((shard.key(row), {"high.png": encode_png(high), "low.png": encode_png(low), "json": info}))
    write_shard(folder / "sidecar.tar", samples)


def checkpoint(folder: Path) -> None:
    """step-00000003 of a small network."""
    saver = Saver(folder, 9, None, Events(folder).log)
    saver.save(3, state_of(3, 300), {"step": 3, "excluded": []})
    saver.wait()
    (folder / "events.jsonl").unlink(missing_ok=True)


def tiff(folder: Path) -> None:
    """A plain tiled pyramid, deflated."""
    picture = tissue_slide(1, _SIDE)
    with tifffile.TiffWriter(folder / "s.tif") as file:
        for level in range(2):
            size = (_SIDE >> level, _SIDE >> level)
            part = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            file.write(part, subfiletype=int(level > 0), compression="deflate", **_TIFF)


def svs(folder: Path) -> None:
    """Aperio's, in JPEG tiles."""
    picture = cv2.GaussianBlur(tissue_slide(2, _SIDE), (0, 0), 3)
    said = f"Aperio Image Library v11.2.1\n{_SIDE}x{_SIDE} [0,0 {_SIDE}x{_SIDE}] (128x128) JPEG/RGB Q=70|AppMag = 10|MPP = 1.0000"
    with tifffile.TiffWriter(folder / "s.svs") as file:
        file.write(picture, compression="jpeg", description=said, **_TIFF)
        file.write(cv2.resize(picture, (64, 64)), compression="jpeg", photometric="rgb", metadata=None, rowsperstrip=16)
        file.write(cv2.resize(picture, (_SIDE // 2, _SIDE // 2)), compression="jpeg", subfiletype=0, **_TIFF)


def ome(folder: Path) -> None:
    """OME-TIFF with a level in a SubIFD."""
    picture = tissue_slide(3, _SIDE)
    size = {"PhysicalSizeX": 1.0, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 1.0, "PhysicalSizeYUnit": "µm"}
    options = {"photometric": "rgb", "tile": (128, 128), "compression": "deflate"}
    with tifffile.TiffWriter(folder / "s.ome.tif", ome=True) as file:
        file.write(picture, subifds=1, metadata={"axes": "YXS", **size}, **options)
        file.write(cv2.resize(picture, (_SIDE // 2, _SIDE // 2)), subfiletype=1, metadata=None, **options)


def scn(folder: Path) -> None:
    """Leica's, which OpenSlide reads."""
    write_scn(folder / "s.scn", cv2.GaussianBlur(tissue_slide(4, _SIDE), (0, 0), 3), (100, 60), (600, 500))


def annotations(folder: Path) -> None:
    """QuPath, ASAP, Aperio, and a mask as PNG and TIFF; 100 × 100 px of Stroma, Tumor and DCIS."""
    (folder / "a.geojson").write_text(
        geojson(
            feature("Stroma", square(5, 5, 95, 95), square(70, 70, 80, 80)),
            feature("Tumor", square(10, 10, 50, 50)),
            feature("DCIS", square(20, 20, 40.5, 40.5)),
        )
    )
    drawn = [("Polygon", "Stroma", square(5, 5, 95, 95)), ("Polygon", "Tumor", square(10, 10, 50, 50))]
    (folder / "asap.xml").write_text(asap(*drawn))
    layers = [("Stroma", [("0", "0", square(5, 5, 95, 95))]), ("Tumor", [("0", "0", square(10, 10, 50, 50))])]
    (folder / "aperio.xml").write_text(aperio(*layers))
    mask = np.zeros((100, 100), np.uint8)
    mask[5:95, 5:95], mask[10:50, 10:50], mask[20:40, 20:40] = 1, 2, 7
    (folder / "mask.png").write_bytes(encode_png(mask))
    tifffile.imwrite(folder / "mask.tif", mask, compression="deflate", metadata=None, software=False)


def config(folder: Path) -> None:
    """A campaign file and the class file that it extends."""
    path = tiny_campaign(folder, runs="runs")
    raw = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**raw, "extends": "breast.yaml"}, sort_keys=False))
    shutil.copy(CLASSES, folder / "breast.yaml")


def tables(folder: Path) -> None:
    """A slide table and a table of tiles, with the files that they name."""
    for name in ("s0.tif", "s1.tif", "s2.tif", "a0.geojson", "a1.geojson"):
        (folder / name).write_bytes(b"x")
    rows = ["s0.tif,P0,ER,Philips,DS1,train,a0.geojson,0.5,5\n", 's1.tif,P1,HE,"Leica, GT450",DS1,val,a1.geojson,,\n']
    (folder / "slides.csv").write_text(HEADER + "".join(rows) + "s2.tif,P2,ER,Philips,DS2,test,,,3\n")
    for name in ("images", "masks"):
        (folder / name).mkdir()
        for tile in "abc":
            (folder / name / f"{tile}.png").write_bytes(encode_png(np.full((8, 8), 1, np.uint8)))
    (folder / "manifest.csv").write_text("name,who,split\na,P0,train\nb,P1,val\nc,P2,test\n")


MAKERS: dict[str, Callable[[Path], None]] = {
    "corpus": corpus,
    "checkpoint": checkpoint,
    "tiff": tiff,
    "svs": svs,
    "ome": ome,
    "scn": scn,
    "annotations": annotations,
    "config": config,
    "tables": tables,
}


def make(root: Path, names: set[str]) -> dict[str, Path]:
    """Name -> folder. names: those of MAKERS that are needed."""
    folders = {}
    for name in sorted(names):
        folders[name] = root / name
        folders[name].mkdir(parents=True)
        MAKERS[name](folders[name])
    return folders
