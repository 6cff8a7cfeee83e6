"""Regions are chosen within the budget, in turns of reasons, not on top of each other, and spread over slides and patients."""

from collections import Counter

import pytest

from mlseg_dist.data.corpus import PairRef
from mlseg_dist.review.choosing import LEAST, choose
from mlseg_dist.review.scores import REASONS, Patch
from shards.manifest import SlideEntry

SIDE_UM = 256.0
AREA = (SIDE_UM / 1000) ** 2


def slide(slug: str, patient: str = "", stain: str = "ER") -> SlideEntry:
    facts = {"scanner": "X", "source": "DS1", "split": "train"}
    return SlideEntry(slug=slug, slide=f"{slug}.svs", patient=patient or slug, stain=stain, **facts)


def patch(slug: str, x: float, **scores: float) -> Patch:
    ref = PairRef(0, 0, f"{slug}+y0000000+x{int(x):07d}", slug, "train")
    every = {reason: scores.get(reason, 0.0) for reason in REASONS}
    return Patch(ref, (x, 500.0), (100.0, 100.0), every, {}, 0.0, None)


def chosen(patches, slides, regions, **more):
    return choose(patches, {one.slug: one for one in slides}, SIDE_UM, regions * AREA, **more)


def test_the_budget_is_an_area():
    patches = [patch("a", 1000 * n, uncertainty=0.5) for n in range(1, 9)]
    assert len(chosen(patches, [slide("a")], 3)) == 3
    assert len(chosen(patches, [slide("a")], 3.99)) == 3
    regions = chosen(patches, [slide("a")], 100)
    assert [region.rank for region in regions] == list(range(1, 9)) and regions[0].area_mm2 == pytest.approx(AREA)


def test_each_reason_has_its_turn_until_nothing_is_left_for_it():
    patches = [patch("a", 1000 * n, uncertainty=0.9 - n / 100) for n in range(1, 6)]
    patches += [patch("a", 1000 * n, conflict=0.2) for n in range(6, 8)]
    found = [region.reason for region in chosen(patches, [slide("a")], 6)]
    assert found == ["conflict", "uncertainty", "conflict", "uncertainty", "uncertainty", "uncertainty"]
    assert {region.reason for region in chosen(patches, [slide("a")], 9, reasons=("conflict",))} == {"conflict"}


def test_regions_share_at_most_a_quarter():
    patches = [patch("a", 1000 + shift, uncertainty=0.9 - shift / 1000) for shift in (0, 30, 74, 76, 150)]
    found = [region.patch.center[0] for region in chosen(patches, [slide("a")], 9)]
    assert found == [1000, 1076], "1,074 shares 26 % with the first; 1,150 shares 26 % with the second"


def test_a_slide_that_has_regions_stands_back():
    patches = [patch("a", 1000 * n, uncertainty=0.9) for n in range(1, 9)]
    patches += [patch(slug, 1000 * n, uncertainty=0.5) for slug in "bcd" for n in range(1, 9)]
    slides = [slide("a"), *(slide(slug) for slug in "bcd")]
    spread = Counter(region.patch.ref.slide for region in chosen(patches, slides, 8))
    assert set(spread) == set("abcd") and max(spread.values()) <= 4
    plain = Counter(region.patch.ref.slide for region in chosen(patches, slides, 8, spread=False))
    assert plain == {"a": 8}


def test_patients_count_and_not_only_their_slides():
    patches = [patch(slug, 1000.0, uncertainty=0.5) for slug in "abc"]
    slides = [slide("a", "P1"), slide("b", "P1"), slide("c", "P2")]
    assert [region.patch.ref.slide for region in chosen(patches, slides, 2)] == ["a", "c"]


def test_too_little_is_no_reason():
    patches = [patch("a", 1000.0, uncertainty=LEAST - 0.001), patch("a", 3000.0, conflict=LEAST)]
    assert [region.reason for region in chosen(patches, [slide("a")], 9)] == ["conflict"]
    assert chosen([], [], 9) == []
