"""Small slides written by the tests: a TIFF whose pixels tell their own coordinates, with annotations and a table."""

import json
from pathlib import Path

import cv2
import numpy as np
import tifffile

from mlseg_core.config import read_yaml, validate
from shards.config import ShardsConfig

ROOT = Path(__file__).parents[2]
HEADER = "slide,patient,stain,scanner,source,split,annotation,mpp,score\n"


def ramp(width: int, height: int) -> np.ndarray:
    """R and G rise with x and y, so that a read pixel says where it lies. uint8 (height, width, 3)."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([x * 255 // width, y * 255 // height, np.full_like(x, 128)], axis=-1).astype(np.uint8)


def write_slide(path: Path, image: np.ndarray, mpp: float | None = 1.0, levels: int = 3) -> None:
    """A tiled pyramid without loss; sizes of levels are rounded down."""
    options = {"tile": (256, 256), "photometric": "rgb", "compression": "deflate", "metadata": None}
    if mpp is not None:
        options |= {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as tiff:
        for level in range(levels):
            size = (image.shape[1] >> level, image.shape[0] >> level)
            tiff.write(cv2.resize(image, size, interpolation=cv2.INTER_AREA), subfiletype=int(level > 0), **options)


def square_feature(name: str, x0: float, y0: float, x1: float, y1: float, hole: tuple | None = None) -> dict:
    rings = [[[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]]
    if hole:
        a, b, c, d = hole
        rings.append([[a, b], [c, b], [c, d], [a, d], [a, b]])
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": rings},
        "properties": {"objectType": "annotation", "classification": {"name": name}},
    }


def write_annotation(path: Path, *features: dict) -> None:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(features)}))


def shards_config(**changes) -> ShardsConfig:
    """Breast classes, 64 px stored at 2 and 8 µm/px."""
    raw = read_yaml(ROOT / "configs/classes/breast.yaml")["shards"]
    small = {"high_mpp": 2.0, "low_mpp": 8.0, "store_px": 64, "stride_um": 96.0}
    return validate({**raw, **small, **changes}, ShardsConfig, "test")


def tissue_slide(seed: int, side: int = 800) -> np.ndarray:
    """Coloured noise on a bright border: something that Otsu finds."""
    random = np.random.default_rng(seed)
    image = np.full((side, side, 3), 240, np.uint8)
    blob = random.integers(90, 200, (side - 200, side - 200, 3)).astype(np.uint8)
    blob[..., 1] //= 2
    image[100:-100, 100:-100] = blob
    return image


def write_corpus(folder: Path, slides: int = 3) -> Path:
    """Slides s0, s1, … (train, val, test in turn) with Tumor, DCIS and Stroma squares. Returns slides.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [HEADER]
    for number in range(slides):
        write_slide(folder / f"s{number}.tif", tissue_slide(number))
        write_annotation(
            folder / f"s{number}.geojson",
            square_feature("Stroma", 100, 100, 420, 700),
            square_feature("Tumor", 150, 150, 350, 350),
            square_feature("DCIS", 450, 450, 650, 650),
        )
        split = ("train", "val", "test")[number % 3]
        lines.append(f"s{number}.tif,P{number},ER,Philips,DS1,{split},s{number}.geojson,,5\n")
    (folder / "slides.csv").write_text("".join(lines))
    return folder / "slides.csv"


def write_scn(path: Path, picture: np.ndarray, at: tuple[int, int], glass: tuple[int, int]) -> None:
    """A Leica SCN at 1 µm/px: `picture` (side, side, 3) was scanned at the point `at` of a glass of `glass` px."""
    side, nm = len(picture), 1000
    small = cv2.resize(picture, (side // 4, side // 4), interpolation=cv2.INTER_AREA)
    head = '<collection name="c" uuid="u" sizeX="{}" sizeY="{}"><barcode>x</barcode>'.format(*(n * nm for n in glass))
    xml = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01" uuid="u">'
        + head
        + _scn_image("macro", "1", [(300, 200)], (*(n * nm for n in glass), 0, 0), 0)
        + _scn_image(
            "main", "10", [(side, side), (side // 4, side // 4)], (side * nm, side * nm, *(n * nm for n in at)), 1
        )
        + "</collection></scn>"
    )
    options = {"tile": (256, 256), "photometric": "rgb", "compression": "jpeg", "metadata": None}
    options |= {"resolution": (1e4, 1e4), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        tiff.write(np.full((200, 300, 3), 250, np.uint8), description=xml, **options)
        tiff.write(picture, **options)
        tiff.write(small, **options)


def _scn_image(name: str, power: str, sizes: list[tuple[int, int]], view: tuple[int, ...], first: int) -> str:
    """view: width, height and offset (x, y) in nm."""
    levels = "".join(
        f'<dimension sizeX="{w}" sizeY="{h}" r="{level}" ifd="{first + level}"/>' for level, (w, h) in enumerate(sizes)
    )
    width, height, x, y = view
    return (
        f'<image name="{name}" uuid="{name}"><creationDate>2011-01-01T00:00:00Z</creationDate><device model="M" version="1"/>'
        f'<pixels sizeX="{sizes[0][0]}" sizeY="{sizes[0][1]}">{levels}</pixels>'
        f'<view sizeX="{width}" sizeY="{height}" offsetX="{x}" offsetY="{y}" spacingZ="0"/>'
        f"<scanSettings><objectiveSettings><objective>{power}</objective></objectiveSettings><illuminationSettings>"
        "<numericalAperture>0.2</numericalAperture><illuminationSource>brightfield</illuminationSource>"
        "</illuminationSettings></scanSettings></image>"
    )
