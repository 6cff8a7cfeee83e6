"""benchmarks.targeted_hsv: its truth finds painted nuclei without looking at hue, its counts add up."""

import numpy as np
import pytest
import skimage.data

from benchmarks.targeted_hsv.__main__ import BEFORE, main, now
from benchmarks.targeted_hsv.count import count
from benchmarks.targeted_hsv.truth import Truth, truth


def test_truth_finds_dense_discs_on_thin_dye_and_tells_stains_apart():
    rows, columns = np.indices((300, 300))
    disc = (rows % 60 - 30) ** 2 + (columns % 60 - 30) ** 2 < 10**2
    is_brown = disc & (columns < 120)
    for thin, blue, kind in (
        ((225, 228, 235), (120, 150, 195), "IHC, nuclei"),
        ((235, 150, 190), (90, 60, 130), "H&E"),
    ):
        image = np.where(disc[..., None], np.array(blue), np.array(thin)).astype(np.uint8)
        if kind != "H&E":
            image[is_brown] = (90, 60, 40)
        image[:, 250:] = 242
        found = truth(image, 0.5)
        here = disc & (columns < 240)
        assert found.kind == kind
        assert found.nuclei[here].mean() > 0.8 and found.nuclei[~disc & (columns < 240)].mean() < 0.03
        if kind != "H&E":
            assert found.brown[is_brown].mean() > 0.9 and not found.brown[here & ~is_brown].any()
    assert truth(skimage.data.immunohistochemistry(), 0.5).kind == "IHC, membranes"


def test_counts_of_two_pictures_add_up():
    image = skimage.data.immunohistochemistry()
    mask = image.mean(-1) < 140
    known = Truth("IHC, nuclei", np.ones_like(mask), mask, mask & (image[..., 0] > image[..., 2]))
    whole, halves = count(BEFORE, image, known), []
    for part in (slice(0, 200), slice(200, None)):
        halves.append(
            count(
                BEFORE,
                np.ascontiguousarray(image[part]),
                Truth("", *(getattr(known, n)[part] for n in ("tissue", "nuclei", "brown"))),
            )
        )
    total = halves[0] + halves[1]
    assert (
        total.hit == whole.hit
        and total.shifted == pytest.approx(whole.shifted)
        and whole.there["all"] == image[..., 0].size
    )
    assert count(now(), image, known).hit["brown"] < whole.hit["brown"] / 5


def test_the_page_has_a_row_before_and_a_row_now(tmp_path, capsys):
    assert main(["--out", str(tmp_path / "page.md"), "--sheet", str(tmp_path / "sheet")]) == 0
    page = (tmp_path / "page.md").read_text()
    assert page in capsys.readouterr().out
    assert page.count("| before |") == page.count("| now |") == 1
    assert len(list((tmp_path / "sheet").iterdir())) == 2
