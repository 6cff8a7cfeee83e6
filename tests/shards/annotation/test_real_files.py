"""Annotations that real people drew with real tools, against facts taken from the files by other means."""

import xml.etree.ElementTree
from collections import Counter

import numpy as np
import pytest
import shapely

from mlseg_core.config import read_yaml, validate
from mlseg_core.errors import UserError
from shards.annotation import UNLABELLED, AnnotationFile, Frame, read_annotation
from shards.annotation.raster import Ring
from shards.config import ShardsConfig
from tests.shards.annotation.files_for_tests import REAL
from tests.shards.slides_for_tests import ROOT

ASAP = sorted((REAL / "asap").glob("*.xml"))
APERIO, QUPATH = REAL / "TCGA-EJ-5519-01Z-00-DX1.xml", REAL / "dlup_qupath05.geojson"
SLIDE = (250_000, 250_000)
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="no real annotations in ../shared/realdata")


def config_of(path):
    names = sorted(AnnotationFile(path).names - {"negative"})
    return ShardsConfig(fine_classes=tuple(names), annotation_classes={name: name for name in names})


def mean_label(annotation, across=1500):
    """The whole annotation `across` px wide, and the area of a pixel in level-0 px²."""
    x0, y0, x1, y1 = annotation.bounds
    step = max(x1 - x0, y1 - y0) / across
    size = (int((x1 - x0) / step) + 1, int((y1 - y0) / step) + 1)
    return annotation.label((x0, y0), (step, step), size), step * step


def even_odd(points):
    return shapely.make_valid(shapely.Polygon(points))


def test_all_of_them_are_here():
    assert len(ASAP) == 36


@pytest.mark.parametrize("path", ASAP, ids=lambda path: path.stem[-30:])
def test_asap(path):
    """Groups as the file lists them; without splines the area is that of its polygons less its negatives."""
    root = xml.etree.ElementTree.parse(path).getroot()
    found = Counter(node.get("PartOfGroup") for node in root.iter("Annotation"))
    annotation = read_annotation(path, config_of(path), Frame(SLIDE, (0.25, 0.25)))
    assert AnnotationFile(path).names == set(found)
    assert len(annotation.outlines(50.0)) == sum(found.values()) and not annotation.ignored
    shapes = [
        (node.get("PartOfGroup"), [(float(c.get("X")), float(c.get("Y"))) for c in node.iter("Coordinate")])
        for node in root.iter("Annotation")
    ]
    drawn = shapely.union_all([even_odd(points) for group, points in shapes if group != "negative"])
    drawn = drawn.difference(shapely.union_all([even_odd(points) for group, points in shapes if group == "negative"]))
    label, pixel = mean_label(annotation)
    splines = any(node.get("Type") == "Spline" for node in root.iter("Annotation"))
    # A curve through a few points swells beyond the polygon; through hundreds it is the polygon.
    assert (label != UNLABELLED).sum() * pixel == pytest.approx(drawn.area, rel=0.25 if splines else 2e-3)


def test_camelyon_splines_are_nearly_their_polygons():
    path = REAL / "asap/annotations_tumor_009.xml"
    annotation = read_annotation(path, config_of(path), Frame(SLIDE, (0.25, 0.25)))
    root = xml.etree.ElementTree.parse(path).getroot()
    polygons = [
        even_odd([(float(c.get("X")), float(c.get("Y"))) for c in node.iter("Coordinate")])
        for node in root.iter("Annotation")
    ]
    label, pixel = mean_label(annotation)
    assert (label != UNLABELLED).sum() * pixel == pytest.approx(shapely.union_all(polygons).area, rel=2e-3)


@pytest.mark.parametrize("name", ["annotations_tumor_009.xml", "annotations_tumor_076.xml"])
def test_camelyon_reads_with_its_class_file(name):
    raw = read_yaml(ROOT / "configs/classes/camelyon.yaml")["shards"]
    annotation = read_annotation(REAL / "asap" / name, validate(raw, ShardsConfig, "test"), Frame(SLIDE, (0.25, 0.25)))
    assert annotation.fine == {raw["fine_classes"].index("tumour")}


def test_aperio_areas_are_what_imagescope_wrote_down():
    """Layers by attribute or number. ImageScope's Area is the windings' sum; ours is even-odd, as shapely has it."""
    config = config_of(APERIO)
    written = {"CaP": 3050322256.4, "Layer 3": 1064952.4, "Layer 4": 28651504.4}
    assert set(config.fine_classes) == set(written)
    for name, area in written.items():
        names = {other: name if other == name else "hole" for other in written}
        alone = config.model_copy(update={"fine_classes": (name,), "annotation_classes": names})
        annotation = read_annotation(APERIO, alone, Frame(SLIDE, (0.2525, 0.2519)))
        [(_, ring)] = annotation.outlines(1e-6)
        assert Ring(ring).area == pytest.approx(area, abs=0.1), name
        label, pixel = mean_label(annotation)
        assert (label == 0).sum() * pixel == pytest.approx(even_odd(ring).area, rel=2e-3), name
    with pytest.raises(UserError, match=r"drawn at 0.252 µm/px, the slide has 0.5"):
        read_annotation(APERIO, config, Frame(SLIDE, (0.5, 0.5)))


def test_qupath_without_classifications_goes_by_name():
    config = config_of(QUPATH)
    annotation = read_annotation(QUPATH, config, Frame(SLIDE, (0.25, 0.25)))
    outlines = annotation.outlines(1e-6)
    assert Counter(config.fine_classes[fine] for fine, _ in outlines) == {"UT": 1, "I": 2}
    with pytest.raises(UserError, match=r"'I' \(2\), 'UT' \(1\)"):
        read_annotation(QUPATH, config.model_copy(update={"annotation_classes": {}}), Frame(SLIDE, (0.25, 0.25)))
    label, pixel = mean_label(annotation)
    expected = shapely.union_all([shapely.Polygon(ring) for _, ring in outlines]).area
    assert (label != UNLABELLED).sum() * pixel == pytest.approx(expected, rel=2e-3)


def test_negatives_of_a_real_file_are_empty_inside():
    path = next(path for path in ASAP if "TCGA-BA-A6DF" in path.name)
    annotation = read_annotation(path, config_of(path), Frame(SLIDE, (0.25, 0.25)))
    root = xml.etree.ElementTree.parse(path).getroot()
    negatives = [
        shapely.Polygon([(float(c.get("X")), float(c.get("Y"))) for c in node.iter("Coordinate")])
        for node in root.iter("Annotation")
        if node.get("PartOfGroup") == "negative"
    ]
    assert len(negatives) == 13
    for polygon in negatives:
        inner = polygon.representative_point()
        assert annotation.label((inner.x - 0.5, inner.y - 0.5), (1.0, 1.0), (1, 1))[0, 0] == UNLABELLED
    assert np.isfinite(annotation.bounds).all()
