"""A corpus of two scanners: the same kind of painted tissue, in colours that differ as scanners' do. High and low views 64 px."""

from pathlib import Path

import cv2
import numpy as np
import tifffile
import yaml

from mlseg_core.config import validate
from mlseg_core.exactly_once.run import run_units
from mlseg_core.files import write_atomic, write_json
from mlseg_dist.style.config import StyleConfig
from shards import cutting
from shards.config import ShardsConfig
from shards.sample import decode_rgb
from shards.tar import ShardReader
from tests.mlseg_dist.tiny_run import CLASSES, MPP, SIZE

SMALL = StyleConfig(
    batch=4,
    crop_px=64,
    channels=(8, 16, 24),
    blocks=2,
    latent=16,
    critic_channels=(12, 24, 32),
    steps=6,
    checkpoint_every=3,
    log_every=2,
    average=0.98,
    lr=0.002,
    critic_lr=0.002,
)
SLIDES = (
    ("p1", "Philips", "train"),
    ("p2", "Philips", "train"),
    ("TCGA-00-AAAA-01Z-00-DX1.00000000-0000-0000-0000-000000000000", "Morphle", "train"),
    ("m2", "Morphle", "train"),
    ("p3", "Philips", "val"),
)
TISSUE, NUCLEI, GLASS = (226, 190, 208), (96, 74, 150), (243, 243, 243)


def scanned(image: np.ndarray, scanner: str) -> np.ndarray:
    """Morphle's camera: less red, more blue in the shadows."""
    if scanner == "Philips":
        return image
    gain, offset = np.array([0.72, 0.95, 0.9], np.float32), np.array([4, 6, 24], np.float32)
    return np.clip(image * gain + offset, 0, 255).astype(np.uint8)


def paint(random: np.random.Generator) -> np.ndarray:
    """Tissue with nuclei of many sizes and a piece of glass, uint8 (SIZE, SIZE, 3)."""
    image = np.full((SIZE, SIZE, 3), TISSUE, np.uint8)
    cv2.circle(image, tuple(random.integers(0, SIZE, 2).tolist()), 90, GLASS, -1)
    for _ in range(900):
        x, y, radius = random.integers([0, 0, 3], [SIZE, SIZE, 10]).tolist()
        shade = np.clip(np.array(NUCLEI) + random.integers(-24, 25), 0, 255).tolist()
        cv2.ellipse(image, (x, y), (radius, max(2, radius // 2)), float(random.uniform(0, 180)), 0, 360, shade, -1)
    image = image.astype(np.float32) + random.normal(0, 4, (SIZE, SIZE, 1))
    return np.clip(cv2.GaussianBlur(image, (0, 0), 0.8), 0, 255).astype(np.uint8)


def two_scanners(folder: Path) -> Path:
    """Returns the shards folder."""
    slides = folder / "slides"
    slides.mkdir(parents=True)
    rows = ["slide,patient,stain,scanner,source,split,annotation,mpp"]
    for number, (name, scanner, split) in enumerate(SLIDES):
        image = scanned(paint(np.random.default_rng(number)), scanner)
        tifffile.imwrite(slides / f"{name}.tif", image, tile=(256, 256), photometric="rgb")
        features = [
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [[[a, 0], [b, 0], [b, SIZE], [a, SIZE], [a, 0]]]},
                "properties": {"classification": {"name": tissue}},
            }
            for tissue, a, b in (("Tumor", 0, SIZE // 2), ("Stroma", SIZE // 2, SIZE))
        ]
        write_json(slides / f"{name}.geojson", {"type": "FeatureCollection", "features": features})
        rows.append(f"{name}.tif,P{number},ER,{scanner},DS1,{split},{name}.geojson,{MPP}")
    write_atomic(slides / "slides.csv", "\n".join(rows) + "\n")
    sampling = {"high_mpp": MPP, "low_mpp": 4 * MPP, "store_px": 64, "stride_um": 96.0, "max_per_class": 12}
    config = validate({**yaml.safe_load(CLASSES.read_text())["shards"], **sampling}, ShardsConfig, "test")
    units, shards = cutting.units(config, slides / "slides.csv"), folder / "shards"
    assert not run_units(units, cutting.cut, shards, describe=cutting.describe)
    cutting.write_manifest(config, slides / "slides.csv", units, shards)
    return shards


def images(path: Path, members: tuple[str, ...], view: str) -> np.ndarray:
    """All of a shard's images of a view, uint8 (N, S, S, 3)."""
    with ShardReader(path, members) as shard:
        return np.stack([decode_rgb(shard.read(row)[f"{view}.jpg"]) for row in range(len(shard))])
