"""Layout of phantom slides: the look-alike gap, annotation that is whole and disjoint, balance of the pair."""

from collections import Counter
from functools import cache

import numpy as np
import pytest
import shapely

from shards.phantom import PhantomConfig, units
from shards.phantom.annotation import CLASSES, areas
from shards.phantom.layout import Layout, plan
from shards.phantom.lookalike import BAND_UM
from shards.phantom.table import Specimen

CONFIG = PhantomConfig(seed=3, train=6, val=1, test=0, dev_unseen=1, final_unseen=1)
UNITS = units(CONFIG)


@cache
def layout_of(index: int) -> Layout:
    return plan(Specimen(**UNITS[index].payload))


each_slide = pytest.mark.parametrize("index", range(len(UNITS)), ids=[unit.name for unit in UNITS])


@each_slide
def test_no_band_material_within_a_high_view_of_a_mass(index):
    """What tells the pair apart lies farther from any mass than the high view (256 µm) is wide."""
    layout = layout_of(index)
    bands = shapely.union_all(
        [
            (shapely.LinearRing(line) if pair.closed else shapely.LineString(line)).buffer(BAND_UM / 2)
            for pair in layout.pairs
            for line in pair.band
        ]
    )
    assert len(layout.pairs) >= 10
    for pair in layout.pairs:
        assert pair.mass.distance(bands) > 256.0


@each_slide
def test_cuff_lies_inside_the_low_view_and_goes_all_round(index):
    for pair in layout_of(index).pairs:
        assert pair.closed == (pair.kind == "DCIS")
        if pair.kind == "DCIS":
            away = pair.band[0] - np.array(pair.centre)
            assert np.hypot(*away.T).max() + BAND_UM / 2 < 512.0
            assert shapely.Polygon(pair.band[0]).contains(pair.mass)
        else:
            assert len(pair.band) >= 4


@each_slide
def test_units_hold_the_same_kinds_of_mass_in_equal_number(index):
    kinds = Counter(pair.kind for pair in layout_of(index).pairs)
    assert abs(kinds["Tumor"] - kinds["DCIS"]) <= 1


@each_slide
def test_areas_fill_the_regions_without_overlap(index):
    layout = layout_of(index)
    found = areas(layout)
    assert {kind for kind, _ in found} <= set(CLASSES)
    assert all(shape.is_valid for _, shape in found)
    total = sum(shape.area for _, shape in found)
    union = shapely.union_all([shape for _, shape in found]).area
    regions = shapely.union_all(layout.regions).area
    assert total == pytest.approx(union, rel=1e-6)
    assert total == pytest.approx(regions, rel=2e-3)


@each_slide
def test_a_region_holds_a_whole_mass_and_regions_stay_apart(index):
    layout = layout_of(index)
    assert len(layout.regions) >= 3
    for i, region in enumerate(layout.regions):
        assert any(region.contains(pair.mass) for pair in layout.pairs)
        assert all(region.distance(other) > 0 for other in layout.regions[:i])
    share = shapely.union_all(layout.regions).intersection(layout.tissue).area / layout.tissue.area
    assert 0.2 < share < 0.6


def test_annotated_area_of_the_pair_is_balanced_over_the_slides():
    area: Counter[str] = Counter()
    for index in range(len(UNITS)):
        for kind, shape in areas(layout_of(index)):
            area[kind] += shape.area
    assert 0.6 < area["Tumor"] / area["DCIS"] < 1.5
    others = sum(area[kind] for kind in ("Acini", "Vessel", "Necrosis", "Lymph", "Fold", "Bubble", "Blur"))
    assert area["DCIS"] / (area["DCIS"] + others) > 0.25  # DCIS is seen often among Others
    assert set(area) == set(CLASSES)


def test_decoys_0_leaves_tumor_without_band_material():
    easy = units(CONFIG.model_copy(update={"decoys": 0.0}))[0]
    pairs = plan(Specimen(**easy.payload)).pairs
    assert all(bool(pair.band) == (pair.kind == "DCIS") for pair in pairs)
