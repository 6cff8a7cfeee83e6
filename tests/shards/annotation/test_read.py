"""What holds for every format: classes, scale, damage of any kind, digests, outlines, and time on monstrous input."""

import gzip
import io
import re
import time

import cv2
import numpy as np
import pytest
import shapely
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlseg_core.errors import UserError
from shards.annotation import UNLABELLED, AnnotationFile
from shards.annotation.drawing import Drawing
from shards.annotation.regions import Regions
from shards.config import IGNORED
from tests.shards.annotation.files_for_tests import (
    CONFIG,
    DCIS,
    NONE,
    REAL,
    STROMA,
    TUMOUR,
    aperio,
    areas,
    asap,
    feature,
    geojson,
    opened,
    square,
    write,
)

BOX = square(10, 10, 60, 60)


@pytest.mark.parametrize("suffix", [".xml", ".geojson", ".json", ".png", ".tif", ""])
def test_the_content_tells_the_format(tmp_path, suffix):
    for text in (
        geojson(feature("Tumor", BOX)),
        asap(("Polygon", "Tumor", BOX)),
        aperio(("Tumor", [("0", "0", BOX)])),
    ):
        assert areas(opened(write(tmp_path, text, f"a{suffix}"))) == {TUMOUR: 2500}


@pytest.mark.parametrize(
    "content", [b"", b" \n ", b"\0" * 100, b"slide,patient\n", b"\x89PNG\r\n\x1a\n", b"II*\0", b"\x1f\x8b"]
)
def test_what_is_no_annotation(tmp_path, content):
    path = write(tmp_path, content)
    for read in (opened, lambda path: AnnotationFile(path).names):
        with pytest.raises(UserError, match=r"a\.annotation: ") as caught:
            read(path)
        assert len(str(caught.value)) < 400


def test_missing_files_and_folders(tmp_path):
    for path in (tmp_path / "none.xml", tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            opened(path)


def test_all_unmapped_names_are_listed_with_counts(tmp_path):
    names = ["Zebra", "Aardvark", "Zebra", "Tumor", "<script>alert(1)</script>", "a\nb", "Größe"]
    path = write(tmp_path, geojson(*(feature(name, BOX) for name in names)))
    with pytest.raises(UserError) as caught:
        opened(path)
    text = str(caught.value)
    assert "'<script>alert(1)</script>' (1), 'Aardvark' (1), 'Größe' (1), 'Zebra' (2), 'a\\nb' (1)" in text
    assert "Tumor" not in text and "\n" not in text and "configs/classes" in text
    assert AnnotationFile(path).names == set(names)


def test_ignored_names_are_counted_and_cover_nothing(tmp_path):
    path = write(tmp_path, geojson(feature("Tumor", BOX), feature("ROI", square(0, 0, 90, 90))))
    config = CONFIG.model_copy(update={"annotation_classes": {**CONFIG.annotation_classes, "ROI": IGNORED}})
    annotation = opened(path, config)
    assert areas(annotation) == {TUMOUR: 2500} and annotation.ignored == {"ROI": 1}
    assert annotation.digest == opened(write(tmp_path, geojson(feature("Tumor", BOX)), "b")).digest


def test_off_the_slide(tmp_path):
    with pytest.raises(UserError, match=r"x 500 to 600, y 10 to 20\) lies off the slide of 100 × 100 px"):
        opened(write(tmp_path, geojson(feature("Tumor", square(500, 10, 600, 20)))))
    text = geojson(feature("Tumor", square(-10, -10, 20, 60)), feature("DCIS", square(500, 10, 510, 20)))
    partly = opened(write(tmp_path, text))
    assert areas(partly) == {TUMOUR: 1200} and partly.bounds == (0, 0, 100, 60)
    outside = partly.label((-60.0, -60.0), (1.0, 1.0), (700, 100))
    assert (outside != UNLABELLED).sum() == 20 * 40, "nothing is labelled where there is no slide"


def test_views_agree_at_any_corner_step_and_size(tmp_path):
    """Each pixel of a view has the class of the point at its centre, as level 0 drawn very finely has it."""
    random = np.random.default_rng(3)
    names = ["Tumor", "Stroma", "DCIS"]
    drawn = [feature(names[i % 3], (random.random((7, 2)) * 100).tolist()) for i in range(9)]
    annotation = opened(write(tmp_path, geojson(*drawn)))
    polygons = [
        (CONFIG.annotation_classes[names[i % 3]], np.array(drawn[i]["geometry"]["coordinates"][0])) for i in range(9)
    ]
    for corner, step, size in [((-7.1, 3.3), (1.7, 0.9), (70, 90)), ((40.2, 40.1), (0.1, 0.1), (64, 48))]:
        x, y = np.meshgrid(*(corner[a] + (np.arange(size[a]) + 0.5) * step[a] for a in (0, 1)))
        expected = np.full(x.shape, NONE)
        undecided = np.zeros(x.shape, bool)
        for fine in ("stroma", "tumour", "dcis"):
            for name, ring in polygons:
                if name == fine:
                    expected[shapely.contains_xy(shapely.polygons(ring), x, y)] = CONFIG.fine_classes.index(fine)
                    undecided |= shapely.distance(shapely.points(x, y), shapely.linestrings(ring)) < 1e-9
        expected[(x < 0) | (y < 0) | (x >= 100) | (y >= 100)] = NONE
        assert (annotation.label(corner, step, size) == expected)[~undecided].all()


def test_the_digest_follows_geometry_and_names_only(tmp_path):
    path = write(tmp_path, geojson(feature("Tumor", BOX), feature("Stroma", square(0, 0, 9, 9))))
    first = opened(path).digest
    unconcerned = CONFIG.model_copy(
        update={
            "annotation_classes": {**CONFIG.annotation_classes, "Fat": "dcis"},
            "fine_classes": ("dcis", "tumour", "stroma"),
        }
    )
    assert opened(path, unconcerned).digest == first
    renamed = CONFIG.model_copy(update={"annotation_classes": {**CONFIG.annotation_classes, "Tumor": "dcis"}})
    assert opened(path, renamed).digest != first
    same = write(tmp_path, asap(("Polygon", "Tumor", BOX), ("Polygon", "Stroma", square(0, 0, 9, 9))), "b")
    assert opened(same).digest == first, "the format does not matter"
    moved = write(tmp_path, geojson(feature("Tumor", square(10, 10, 60, 61)), feature("Stroma", square(0, 0, 9, 9))))
    assert opened(moved).digest != first


def test_outlines_are_simple_and_near(tmp_path):
    angles = np.linspace(0, 2 * np.pi, 5000, endpoint=False)
    circle = np.stack([50 + 40 * np.cos(angles), 50 + 40 * np.sin(angles)], axis=1).tolist()
    text = geojson(feature("Tumor", circle, square(40, 40, 60, 60)), feature("DCIS", square(1, 1, 1.2, 1.2)))
    rings = opened(write(tmp_path, text)).outlines(2.0)
    assert [fine for fine, _ in rings] == [TUMOUR, TUMOUR, DCIS]
    assert len(rings[0][1]) < 60 and len(rings[1][1]) == 4 and len(rings[2][1]) >= 3, "small regions stay visible"
    off = shapely.hausdorff_distance(shapely.linearrings(circle), shapely.linearrings(rings[0][1]))
    assert off < 2.0


TOKENS = [
    b"null",
    b"-1e308",
    b"NaN",
    b"[]",
    b"{}",
    b"[[",
    b'"',
    b"<",
    b"&lt;",
    b"&#0;",
    b"</Annotation>",
    b"<Annotation>",
]
TOKENS += [b"\xff\xfe", b"9" * 400]
VALUES = np.random.default_rng(0).choice(np.array([0, 1, 2, 7], np.uint8), (60, 60))


def _tiff(**options) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, VALUES, photometric="minisblack", **options)
    return stream.getvalue()


ORIGINALS = {
    "real ASAP": REAL / "asap/deep_tissue_detector_code_and_annotations_xmls_008_087_HE.xml",
    "real QuPath": REAL / "dlup_qupath05.geojson",
    "Aperio": aperio(("Tumor", [("0", "0", BOX), ("0", "1", square(20, 20, 30, 30)), ("2", "0", BOX[:2])])).encode(),
    "packed": gzip.compress(geojson(feature("Tumor", BOX), feature(None, BOX, objectType="cell")).encode()),
    "PNG": cv2.imencode(".png", VALUES)[1].tobytes(),
    "tiles": _tiff(tile=(16, 16), compression="deflate"),
    "strips": _tiff(rowsperstrip=7),
}


@pytest.mark.parametrize("original", ORIGINALS)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_end_as_an_annotation_or_one_line(tmp_path, original, data):
    source = ORIGINALS[original]
    if not isinstance(source, bytes) and not source.is_file():
        pytest.skip(f"no {source.name} in ../shared/realdata")
    content = bytearray(source if isinstance(source, bytes) else source.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        length = data.draw(st.sampled_from([0, 1, 2, 8, 100, len(content)]))
        content[start : start + length] = data.draw(st.one_of(st.binary(max_size=8), st.sampled_from(TOKENS)))
    path = write(tmp_path, bytes(content))
    try:
        names = AnnotationFile(path).names
        mapped = {"annotation_classes": dict.fromkeys(names, "tumour"), "mask_classes": {name: name for name in names}}
        annotation = opened(path, CONFIG.model_copy(update=mapped), (200_000, 200_000))
    except UserError as error:
        assert re.search(r"a\.annotation: ", str(error)) and "\n" not in str(error)
        return
    assert annotation.label((0.0, 0.0), (2000.0, 2000.0), (100, 100)).shape == (100, 100)
    annotation.outlines(100.0)


def test_millions_of_vertices(tmp_path):
    """2 million vertices: seconds to read, far under a second a view."""
    angles = np.linspace(0, 2 * np.pi, 2_000_000, endpoint=False)
    radii = 40_000 + 100 * np.random.default_rng(0).random(len(angles))
    ring = np.round(np.stack([50_000 + radii * np.cos(angles), 50_000 + radii * np.sin(angles)], axis=1), 1)
    drawing = Drawing("geojson")
    drawing.add("Tumor", [ring])
    annotation = Regions(drawing, CONFIG, (100_000, 100_000))
    start = time.perf_counter()
    coarse = annotation.label((0.0, 0.0), (64.0, 64.0), (1563, 1563))
    border = annotation.label((89_000.0, 49_000.0), (1.0, 1.0), (2048, 2048))
    far = annotation.label((0.0, 0.0), (1.0, 1.0), (2048, 2048))
    assert time.perf_counter() - start < 3
    assert (coarse == TUMOUR).mean() == pytest.approx(np.pi * 40_050**2 / (1563 * 64) ** 2, rel=1e-3)
    assert 0 < (border == TUMOUR).mean() < 1 and (far == NONE).all()


def test_a_hundred_thousand_regions(tmp_path):
    drawing = Drawing("geojson")
    for i in range(100_000):
        x, y = i % 400 * 100, i // 400 * 100
        drawing.add("Tumor" if i % 2 else "Stroma", [np.array(square(x, y, x + 30, y + 20), float)])
    annotation = Regions(drawing, CONFIG, (40_000, 25_000))
    start = time.perf_counter()
    label = annotation.label((100.0, 100.0), (1.0, 1.0), (1000, 1000))
    assert time.perf_counter() - start < 1
    assert (label == TUMOUR).sum() == (label == STROMA).sum() == 50 * 600
