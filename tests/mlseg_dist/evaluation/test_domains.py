"""Groups of slides by what they come from: pooled, spread, unseen, and the factors that cannot be told apart."""

import numpy as np
import pytest

from mlseg_dist.evaluation import figures
from mlseg_dist.evaluation.differences import by_domain
from mlseg_dist.evaluation.domains import confounded, domain_slides, domains


def facts(*rows: str) -> dict[str, dict]:
    """Each row: slug patient stain scanner source, and then factors that are unseen."""
    found = {}
    for row in rows:
        slug, patient, stain, scanner, source, *unseen = row.split()
        found[slug] = {"patient": patient, "stain": stain, "scanner": scanner, "source": source, "unseen": unseen}
    return found


SLIDES = facts("a P1 ER Philips DS1", "b P1 PR Philips DS1", "c P2 ER Motic DS2 scanner source", "d P3 ER Philips DS1")
MATRICES = {slug: np.random.default_rng(number).integers(1, 90, (3, 3)) for number, slug in enumerate(SLIDES)}


def test_domains_pool_their_slides_and_say_how_far_slides_lie_apart():
    rows = {(row["factor"], row["value"]): row for row in domains(MATRICES, SLIDES, seed=1)}
    assert list(rows) == [
        *(("stain", "ER"), ("stain", "PR"), ("scanner", "Philips"), ("scanner", "Motic")),
        *(("source", "DS1"), ("source", "DS2")),
    ]
    row = rows["stain", "ER"]
    pooled = MATRICES["a"] + MATRICES["c"] + MATRICES["d"]
    assert (row["slides"], row["patients"], row["unseen"]) == (3, 3, False)
    assert row["miou"]["value"] == pytest.approx(float(figures.mean_iou(pooled)))
    assert row["miou"]["low"] is None and row["miou"]["patients"] == 3
    own = [float(figures.mean_iou(MATRICES[slug])) for slug in "acd"]
    assert row["spread"] == [min(own), max(own)]
    assert rows["scanner", "Philips"]["patients"] == 2, "two of its slides are of one patient"
    assert rows["scanner", "Motic"]["unseen"] and rows["source", "DS2"]["unseen"]


def test_differences_by_domain_are_paired():
    slides = facts(*(f"s{number} P{number} {('ER', 'PR')[number % 2]} Philips DS1" for number in range(12)))
    before = {slug: np.random.default_rng(number).integers(1, 90, (3, 3)) for number, slug in enumerate(slides)}
    after = {slug: matrix + np.diag([9, 9, 9]) for slug, matrix in before.items()}
    rows = {(row["factor"], row["value"]): row for row in by_domain(before, after, slides, list(slides), seed=1)}
    assert list(rows) == [("stain", "ER"), ("stain", "PR"), ("scanner", "Philips"), ("source", "DS1")]
    own = [slug for slug, fact in slides.items() if fact["stain"] == "ER"]
    direct = figures.mean_iou(sum(after[s] for s in own)) - figures.mean_iou(sum(before[s] for s in own))
    found = rows["stain", "ER"]["miou"]
    assert found["value"] == pytest.approx(float(direct)) and 0 < found["low"] < found["value"] < found["high"]
    apart = [{row["value"]: row for row in domains(one, slides, seed=1)}["ER"]["miou"] for one in (before, after)]
    width = max(one["high"] - one["low"] for one in apart)
    assert found["high"] - found["low"] < width / 2, "what patients have in common cancels"


def test_a_domain_with_patients_enough_has_an_interval_that_repeats():
    slides = facts(*(f"s{number} P{number} ER Philips DS1" for number in range(8)))
    matrices = {slug: np.random.default_rng(number).integers(1, 90, (3, 3)) for number, slug in enumerate(slides)}
    rows = domains(matrices, slides, seed=1)
    assert rows == domains(dict(reversed(matrices.items())), slides, seed=1)
    assert rows[0]["miou"] == rows[1]["miou"] == rows[2]["miou"], "the same slides by another name"
    assert rows[0]["miou"]["low"] < rows[0]["miou"]["value"] < rows[0]["miou"]["high"]


def test_a_domain_without_any_pixel_of_a_class_has_no_figure_of_it():
    empty = dict.fromkeys(SLIDES, np.zeros((3, 3), np.int64))
    assert domains(empty, SLIDES, 1)[0]["spread"] == [None, None]
    assert domains({}, SLIDES, 1) == []


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["a P E S X", "b P F T Y"], [["stain", "scanner", "source"]]),
        (["a P E S X", "b P F S Y", "c P E S X"], [["stain", "source"]]),
        (["a P E S X", "b P F S X", "c P E T X", "d P F T X"], []),  # stains and scanners are crossed, one source
        # each source has one scanner, but a scanner serves two sources: what a source adds is told, a scanner's part is not
        (["a P E S X", "b P F S X", "c P E S Y", "d P F S Y", "e P E T Z", "f P F T Z"], [["scanner", "source"]]),
        (["a P E S X"], []),
        ([], []),
    ],
)
def test_factors_whose_values_fix_each_other_are_confounded(rows, expected):
    assert confounded(facts(*rows), [row.split()[0] for row in rows]) == expected


def test_domains_are_made_of_the_held_out_splits_and_of_val_only_where_there_are_none():
    slides = {"a": {"split": "val"}, "b": {"split": "test"}, "c": {"split": "dev-unseen"}}
    assert domain_slides(slides, ["val", "test", "dev-unseen"]) == ["b", "c"]
    assert domain_slides({"a": slides["a"]}, ["val"]) == ["a"]
