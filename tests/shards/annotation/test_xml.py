"""ASAP, Aperio ImageScope and HALO: classes, holes, curves, scale; and XML that attacks."""

import numpy as np
import pytest
import shapely

from mlseg_core.errors import UserError
from shards.annotation import AnnotationFile
from shards.annotation.asap import spline
from shards.config import HOLE
from tests.shards.annotation.files_for_tests import (
    CONFIG,
    DCIS,
    STROMA,
    TUMOUR,
    aperio,
    areas,
    asap,
    opened,
    square,
    write,
)

OUTER, INNER = square(10, 10, 60, 60), square(20, 20, 30, 30)


@pytest.mark.parametrize("group", ["negative", "Hole", "EXCLUSION"])
def test_asap_groups_and_holes(tmp_path, group):
    path = write(tmp_path, asap(("Polygon", "Tumor", OUTER), ("Polygon", group, INNER)))
    assert areas(opened(path)) == {TUMOUR: 2400} and AnnotationFile(path).names == {"Tumor", group}


def test_a_mapped_negative_is_a_class_and_any_name_can_mean_a_hole(tmp_path):
    path = write(tmp_path, asap(("Polygon", "Tumor", OUTER), ("Polygon", "negative", INNER)))
    mapped = CONFIG.model_copy(update={"annotation_classes": {"Tumor": "stroma", "negative": "tumour"}})
    assert areas(opened(path, mapped)) == {STROMA: 2400, TUMOUR: 100}
    path = write(tmp_path, asap(("Polygon", "Tumor", OUTER), ("Polygon", "lumen", INNER)))
    mapped = CONFIG.model_copy(update={"annotation_classes": {"Tumor": "tumour", "lumen": HOLE}})
    assert areas(opened(path, mapped)) == {TUMOUR: 2400}


def test_asap_kinds(tmp_path):
    found = asap(
        ("Rectangle", "Tumor", [(0, 0), (10, 5)]),
        ("Rectangle", "Tumor", square(20, 0, 30, 5)),
        ("Dot", "Tumor", [(5, 5)]),
        ("PointSet", "Zebra", [(5, 5), (6, 6), (7, 7)]),
        ("Measurement", "None", [(5, 5), (6, 6)]),
    )
    annotation = opened(write(tmp_path, found))
    assert areas(annotation) == {TUMOUR: 100} and annotation.ignored == {"Dot": 1, "PointSet": 1, "Measurement": 1}


def test_asap_order_counts_not_the_place_in_the_file(tmp_path):
    text = asap(("Polygon", "Tumor", [(0, 0), (10, 10), (10, 0), (0, 10)]))  # a bow tie as written
    text = text.replace('Order="1"', 'Order="9"').replace('Order="2"', 'Order="1"').replace('Order="9"', 'Order="2"')
    assert areas(opened(write(tmp_path, text))) == {TUMOUR: 100}


def test_asap_without_groups_goes_by_name(tmp_path):
    drawn = ("Polygon", "None", OUTER)
    assert AnnotationFile(write(tmp_path, asap(drawn, groups=False))).names == {"Annotation 0"}
    assert AnnotationFile(write(tmp_path, asap(drawn, ("Polygon", "Tumor", INNER)))).names == {"(no class)", "Tumor"}


def bezier_by_hand(p0, p1, p2, p3, t):
    """ASAP's catmullRomToBezier, one coordinate after the other as in its source."""
    d1, d2, d3 = (np.hypot(*(b - a)) for a, b in ((p0, p1), (p1, p2), (p2, p3)))
    r1, r2, r3 = d1**0.5, d2**0.5, d3**0.5
    b1 = (d1 * p2 - d2 * p0 + (2 * d1 + 3 * r1 * r2 + d2) * p1) / (3 * r1 * (r1 + r2))
    b2 = (d3 * p1 - d2 * p3 + (2 * d3 + 3 * r3 * r2 + d2) * p2) / (3 * r3 * (r3 + r2))
    return (1 - t) ** 3 * p1 + 3 * (1 - t) ** 2 * t * b1 + 3 * (1 - t) * t * t * b2 + t**3 * p2


def test_splines_are_the_curves_that_asap_draws():
    random = np.random.default_rng(4)
    p = random.uniform(0, 2000, (9, 2))
    ring = shapely.linearrings(spline(p))
    t = np.linspace(0, 1, 50)[:, None]
    for i in range(9):
        before = p[i - 1] if i < 8 else 2 * p[8] - p[0]
        after = 2 * p[8] - p[7] if i == 7 else p[(i + 2) % 9]
        curve = bezier_by_hand(before, p[i], p[(i + 1) % 9], after, t)
        assert shapely.distance(shapely.points(curve), ring).max() < 0.25, f"part {i} is over a quarter px off"


def test_a_spline_through_a_circle_is_nearly_round(tmp_path):
    angles = np.arange(16) * np.pi / 8
    circle = list(zip(50 + 40 * np.cos(angles), 50 + 40 * np.sin(angles), strict=True))
    area = areas(opened(write(tmp_path, asap(("Spline", "Tumor", circle)))))[TUMOUR]
    assert area == pytest.approx(np.pi * 1600, rel=0.01)
    assert areas(opened(write(tmp_path, asap(("Polygon", "Tumor", circle)))))[TUMOUR] < 0.98 * area
    closed = [*circle, circle[0], circle[0]]
    assert areas(opened(write(tmp_path, asap(("Spline", "Tumor", closed)))))[TUMOUR] == area


@pytest.mark.parametrize(("vertex", "kinds"), [("Vertex", "012"), ("V", ["Polygon", "Rectangle", "Ellipse"])])
def test_imagescope_and_halo(tmp_path, vertex, kinds):
    regions = [
        (kinds[0], "0", square(0, 0, 40, 40)),
        (kinds[0], "1", square(10, 10, 20, 20)),
        (kinds[1], "0", [(50, 0), (60, 20)]),
        (kinds[1], "0", square(70, 0, 80, 20)),
        ("Ruler", "0", [(0, 0), (90, 90)]),
    ]
    text = aperio(("Tumor", regions), ("DCIS", [(kinds[2], "0", [(50, 50), (90, 70)])]), vertex=vertex)
    annotation = opened(write(tmp_path, text, "a.annotations"))
    found = areas(annotation)
    assert found[TUMOUR] == 1600 - 100 + 200 + 200 and annotation.ignored == {"Ruler": 1}
    assert found[DCIS] == pytest.approx(np.pi * 20 * 10, rel=0.02)


def test_a_traced_ellipse_or_rectangle_stays_as_drawn(tmp_path):
    triangle = [(0, 0), (5, 0), (20, 0), (20, 20), (10, 10)]
    for kind in "12":
        assert areas(opened(write(tmp_path, aperio(("Tumor", [(kind, "0", triangle)])))))[TUMOUR] < 230


def test_a_hole_stays_in_its_layer(tmp_path):
    text = aperio(
        ("Tumor", [("0", "0", OUTER)]),
        ("Stroma", [("0", "0", square(0, 0, 80, 80)), ("0", "1", square(15, 15, 40, 40))]),
    )
    assert areas(opened(write(tmp_path, text))) == {TUMOUR: 2500, STROMA: 6400 - 2500}
    alone = opened(write(tmp_path, aperio(("Tumor", [("0", "0", OUTER)]), ("Zebra", [("0", "1", INNER)]))))
    assert areas(alone) == {TUMOUR: 2500} and alone.ignored == {"hole in no region": 1}


@pytest.mark.parametrize(
    ("layer", "attribute", "text", "name"),
    [
        ("Tumor", '<Attribute Name="CaP" Value=""/>', "x", "Tumor"),
        ("", '<Attribute Name="CaP" Id="0" Value=""/>', "x", "CaP"),
        ("", '<Attribute Name="Description" Id="0" Value="DCIS"/>', "x", "DCIS"),
        ("", '<Attribute Name="Description" Id="0" Value=""/>', "my text", "my text"),
        ("", '<Attribute Name="Description" Id="0" Value=""/>', "", "Layer 1"),
        ("&lt;script&gt;&#10;Grüße", "", "", "<script>\nGrüße"),
    ],
)
def test_names_of_layers(tmp_path, layer, attribute, text, name):
    found = aperio((layer, [("0", "0", OUTER, text)]), attribute=attribute)
    assert AnnotationFile(write(tmp_path, found)).names == {name}


@pytest.mark.parametrize(("mpp", "fits"), [("0.509", True), ("0.491", True), ("0", True), ("", True), ("0.25", False)])
def test_the_scale_must_be_the_slide_s(tmp_path, mpp, fits):
    path = write(tmp_path, aperio(("Tumor", [("0", "0", OUTER)]), head=f'MicronsPerPixel="{mpp}"'))
    if fits:
        assert areas(opened(path)) == {TUMOUR: 2500}
    else:
        with pytest.raises(UserError, match=r"drawn at 0.25 µm/px, the slide has 0.5"):
            opened(path)


BOMB = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
EXTERNAL = '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
PLAIN_DTD = '<!DOCTYPE a SYSTEM "http://localhost:1/a.dtd">'
GOOD = asap(("Polygon", "Tumor", OUTER)).removeprefix('<?xml version="1.0"?>')


@pytest.mark.parametrize("prolog", [BOMB, EXTERNAL, PLAIN_DTD])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_document_types_and_entities_are_refused(tmp_path, prolog, encoding):
    text = f'<?xml version="1.0" encoding="{encoding}"?>{prolog}{GOOD.replace("Annotation 0", "&a;")}'
    with pytest.raises(UserError, match=r"a\.annotation: .*document type or entities"):
        opened(write(tmp_path, text.encode(encoding)))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1", "windows-1252"])
@pytest.mark.parametrize("packed", [False, True])
def test_encodings(tmp_path, encoding, packed):
    text = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?>{GOOD.replace("Tumor", "Größe")}'
    assert AnnotationFile(write(tmp_path, text.encode(encoding), packed=packed)).names == {"Größe"}


@pytest.mark.parametrize(
    "text",
    [
        "<a/>",
        "<ASAP_Annotations>",
        GOOD[: len(GOOD) // 2],
        GOOD.replace('X="10"', 'X="ten"'),
        GOOD.replace('X="10"', 'X="nan"'),
        GOOD.replace('X="10"', 'X="-inf"'),
        GOOD.replace('X="10"', 'X="1e30"'),
        GOOD.replace('X="10"', ""),
        GOOD.replace("Order", "order"),
        GOOD.replace("</Annotations>", "</annotations>"),
        '<?xml version="1.0" encoding="no-such"?>' + GOOD,
        aperio(("Tumor", [("0", "0", OUTER)]), head='MicronsPerPixel="fine"'),
        aperio(("Tumor", [("0", "0", OUTER)])).replace('Y="10"', 'Y=""'),
        "<Annotations>" * 50_000,
    ],
)
def test_damage_is_one_line_that_names_the_file(tmp_path, text):
    with pytest.raises(UserError, match=r"a\.annotation: ") as caught:
        opened(write(tmp_path, text))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
