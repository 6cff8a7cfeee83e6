"""Flags: each fires on its own trouble, with its figures, and on nothing else; quarantine is what the policy says."""

import json

import cv2
import numpy as np
import pytest

from mlseg_core.config import validate
from mlseg_core.errors import UserError
from shards.audit import Audit, audit_slide
from shards.audit.config import AuditConfig, TissueConfig
from shards.reader import SlideReader
from tests.shards.audit.pictures import glass, ihc, open_picture, paint


@pytest.fixture
def audit(tmp_path):
    def look(rgb: np.ndarray, mpp: float = 2.0) -> Audit:
        with open_picture(tmp_path / "slide.tif", rgb, mpp) as reader:
            return audit_slide(reader, TissueConfig(), AuditConfig())

    return look


def slide() -> np.ndarray:
    """Real IHC on glass, (1400, 1400, 3); the tissue is a tenth to half of it."""
    picture = glass(1400, 1400)
    picture[200:1224, 200:712] = np.tile(ihc(), (2, 1, 1))
    return picture


def test_a_good_slide_has_no_flags_and_plain_figures(audit):
    found = audit(slide())
    assert found.flags == {} and found.quarantined(AuditConfig()) is None
    assert json.loads(json.dumps(found.measures)) == found.measures
    assert 0.2 < found.measures["tissue_share"] < 0.3
    assert found.measures["tissue_mm2"] == pytest.approx(found.measures["tissue_share"] * 2.8**2, rel=0.01)
    assert found.measures["glass_green"] == pytest.approx(242, abs=2)


def test_phantoms_have_no_flags(phantoms):
    for path in phantoms:
        with SlideReader(path) as reader:
            assert audit_slide(reader, TissueConfig(), AuditConfig()).flags == {}, path.stem


def test_ycbcr_declared_as_rgb(audit):
    ycrcb = cv2.cvtColor(slide(), cv2.COLOR_RGB2YCrCb)
    found = audit(ycrcb[..., [0, 2, 1]])
    assert set(found.flags) == {"colour"}
    assert "declares RGB but holds YCbCr" in found.flags["colour"]
    assert found.quarantined(AuditConfig()) == f"colour: {found.flags['colour']}"


def test_rgb_declared_as_ycbcr(audit):
    found = audit(cv2.cvtColor(slide()[..., [0, 2, 1]], cv2.COLOR_YCrCb2RGB))
    assert set(found.flags) == {"colour"} and "RGB is taken for YCbCr" in found.flags["colour"]


def test_tinted_glass_is_no_wrong_colour(audit):
    for tint in ((1.0, 0.93, 0.9), (0.92, 0.95, 1.0), (1.0, 0.92, 0.97)):
        assert audit((slide() * tint).astype(np.uint8)).flags == {}


@pytest.mark.parametrize("level", [0, 12])
def test_fluorescence_is_inverted(audit, level):
    random = np.random.default_rng(0)
    picture = np.full((1200, 1200, 3), level, np.uint8)
    for x, y in random.integers(50, 1150, (300, 2)).tolist():
        cv2.circle(picture, (x, y), 12, (20, 60, 230), -1)
    found = audit(picture)
    assert set(found.flags) == {"inverted"} and found.quarantined(AuditConfig())


def test_a_nearly_empty_slide(audit):
    picture = glass(1400, 1400)
    picture[600:640, 600:640] = ihc()[:40, :40]
    found = audit(picture)
    assert set(found.flags) == {"empty"}
    assert f"{found.measures['tissue_share']:.2%}" in found.flags["empty"]


def test_pen_is_flagged_and_not_quarantined_unless_asked_for(audit):
    painted, _ = paint(slide(), "blue", 150, 15)
    found = audit(painted)
    assert set(found.flags) == {"pen"} and found.measures["pen_share"] > 0.05
    assert found.quarantined(AuditConfig()) is None
    assert found.quarantined(AuditConfig(quarantine=("pen",))) == f"pen: {found.flags['pen']}"


def test_a_slide_out_of_focus(audit):
    found = audit(cv2.GaussianBlur(slide(), (0, 0), 3))
    assert set(found.flags) == {"blurred"} and found.measures["blurred_share"] == 1.0


def test_the_policy_names_known_flags_only():
    with pytest.raises(UserError, match="quarantine"):
        validate({"quarantine": ["ugly"]}, AuditConfig, "test")


def test_tiny_and_blank_slides_do_not_crash(audit):
    for picture in (ihc()[:20, :30], np.full((300, 300, 3), 255, np.uint8), np.zeros((300, 300, 3), np.uint8)):
        found = audit(picture)
        assert "sharpness_p50" not in found.measures
    assert set(audit(np.full((300, 300, 3), 255, np.uint8)).flags) == {"empty"}
