"""Scores by hand: what counts as conflict, as disagreement and as doubt, and where."""

import numpy as np
import pytest

from mlseg_dist.config import IGNORED
from mlseg_dist.data.labels import LEVELS
from mlseg_dist.review.scores import BORDER_UM, judged

SIDE = 40
STEP_UM = 4.0


def codes(classes: object, level: int = 20) -> np.ndarray:
    return np.broadcast_to(np.asarray(classes) * LEVELS + level, (SIDE, SIDE)).astype(np.uint8)


def nobody() -> np.ndarray:
    return np.full((SIDE, SIDE), IGNORED, np.uint8)


def test_a_sure_teacher_that_agrees_with_all_gives_no_reason():
    scores, clash = judged(codes(1) // LEVELS, [codes(1), codes(1)], STEP_UM)
    assert scores == {"conflict": 0, "disagreement": 0, "uncertainty": 0} and clash is None


def test_doubt_grows_as_probability_falls_and_counts_only_what_nobody_annotated():
    found = [judged(nobody(), [codes(0, level)], STEP_UM)[0]["uncertainty"] for level in (19, 14, 9, 7)]
    assert found == sorted(found) and found[0] == pytest.approx((1 - 19.5 / 20) * 1.5) and found[-1] < 1
    human = nobody()
    human[:, : SIDE // 2] = 0
    assert judged(human, [codes(0, 9)], STEP_UM)[0]["uncertainty"] == pytest.approx(found[2] / 2)


def test_rounds_disagree_where_any_earlier_one_says_another_class():
    first, second = codes(0).copy(), codes(0).copy()
    first[:4], second[4:8] = codes(1)[:4], codes(2)[4:8]
    scores, _ = judged(nobody(), [first, second, codes(0)], STEP_UM)
    assert scores["disagreement"] == pytest.approx(8 / SIDE)
    first[:4] = IGNORED  # said nothing there
    assert judged(nobody(), [first, second, codes(0)], STEP_UM)[0]["disagreement"] == pytest.approx(4 / SIDE)


def test_a_border_drawn_by_hand_is_no_conflict_and_a_wrong_region_is():
    human = np.zeros((SIDE, SIDE), np.uint8)
    human[:, 20:] = 1
    narrow = human.copy()
    narrow[:, 20 : 20 + int(BORDER_UM / STEP_UM) - 1] = 0
    scores, clash = judged(human, [codes(narrow)], STEP_UM)
    assert scores["conflict"] == 0 and clash is None
    scores, clash = judged(human, [codes(np.where(human == 1, 2, 0))], STEP_UM)
    assert scores["conflict"] == pytest.approx(0.5) and clash == ("tumour", "others")


def test_a_teacher_that_only_guesses_contradicts_nobody():
    human = np.ones((SIDE, SIDE), np.uint8)
    assert judged(human, [codes(0, 9)], STEP_UM)[0]["conflict"] == 0
    assert judged(human, [codes(0, 10)], STEP_UM)[0]["conflict"] == 1


def test_what_lies_off_the_slide_counts_for_nothing():
    off = np.full((SIDE, SIDE), IGNORED, np.uint8)
    assert judged(nobody(), [off, off], STEP_UM) == ({"conflict": 0, "disagreement": 0, "uncertainty": 0}, None)
