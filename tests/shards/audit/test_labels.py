"""Labels that lie on glass or beside the slide are flagged with figures, and the worst are quarantined by any policy."""

import json

import numpy as np
import pytest

from mlseg_core.config import read_yaml, validate
from shards.annotation import Frame, read_annotation
from shards.audit import Audit, audit_slide
from shards.audit.config import AuditConfig, TissueConfig
from shards.audit.labels import LEAST_ON_TISSUE, SURELY_OFF_TISSUE, may_be_glass, with_labels
from shards.config import ShardsConfig
from shards.reader import SlideReader
from tests.shards.slides_for_tests import (
    ROOT,
    shards_config,
    square_feature,
    tissue_slide,
    write_annotation,
    write_slide,
)

CLASSES = ROOT / "configs/classes"


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    """Tissue from 100 to 700 px of 800, glass around it."""
    path = tmp_path_factory.mktemp("slide") / "s.tif"
    write_slide(path, tissue_slide(0))
    return path


def look(slide, folder, *features, origin=None, config=None) -> Audit:
    write_annotation(folder / "a.geojson", *features)
    config = config or shards_config()
    with SlideReader(slide) as reader:
        frame = Frame.of(reader, origin)
        annotation = read_annotation(folder / "a.geojson", config, frame)
        return with_labels(audit_slide(reader, TissueConfig(), AuditConfig()), annotation, config, frame.scanned)


def test_labels_on_tissue_have_no_flags(slide, tmp_path):
    found = look(slide, tmp_path, square_feature("Tumor", 150, 150, 350, 350))
    assert found.flags == {} and found.always == () and found.quarantined(AuditConfig()) is None
    assert found.measures["labels_on_tissue"] > 0.99
    assert (found.measures["off_slide_share"], found.measures["off_slide_regions"]) == (0, 0)
    assert json.loads(json.dumps(found.measures)) == found.measures


def test_labels_on_glass_are_quarantined_whatever_the_policy(slide, tmp_path):
    found = look(slide, tmp_path, square_feature("Tumor", 5, 5, 90, 90), square_feature("DCIS", 110, 110, 120, 120))
    assert found.measures["labels_on_tissue"] < 0.03 and set(found.flags) == {"off_tissue"}
    for policy in (AuditConfig(), AuditConfig(quarantine=())):
        said = found.quarantined(policy)
        assert said is not None and said.startswith("off_tissue: Only 1% of what is labelled as tissue lies on tissue")
        assert "56% of the slide is tissue" in said and "level 0" in said and "column origin" in said


def test_a_person_who_states_the_origin_has_looked(slide, tmp_path):
    found = look(slide, tmp_path, square_feature("Tumor", 5, 5, 90, 90), origin="level0")
    assert set(found.flags) == {"off_tissue"} and found.quarantined(AuditConfig()) is None
    assert found.quarantined(AuditConfig(quarantine=("off_tissue",))) is not None


def test_between_the_limits_it_is_shown_and_cut(slide, tmp_path):
    found = look(slide, tmp_path, square_feature("Tumor", 40, 200, 140, 300))
    assert SURELY_OFF_TISSUE < found.measures["labels_on_tissue"] < LEAST_ON_TISSUE
    assert set(found.flags) == {"off_tissue"} and found.quarantined(AuditConfig()) is None


def test_classes_that_may_lie_on_glass_are_not_counted(slide, tmp_path):
    glass = square_feature("Background", 0, 0, 800, 90)
    assert "labels_on_tissue" not in look(slide, tmp_path, glass).measures
    found = look(slide, tmp_path, glass, square_feature("Tumor", 150, 150, 350, 350))
    assert found.measures["labels_on_tissue"] > 0.99 and found.flags == {}


def test_labels_everywhere_need_not_follow_the_tissue(tmp_path):
    """A mask whose 0 is a class labels glass too; only a sixteenth of this slide is tissue."""
    image = np.full((800, 800, 3), 240, np.uint8)
    image[300:500, 300:500] = tissue_slide(0)[300:500, 300:500]
    write_slide(tmp_path / "s.tif", image)
    found = look(tmp_path / "s.tif", tmp_path, square_feature("Stroma", 0, 0, 800, 800))
    assert found.measures["labels_on_tissue"] == pytest.approx(1 / 16, abs=0.01) and found.flags == {}


def test_no_tissue_is_told_by_its_own_flag(tmp_path):
    write_slide(tmp_path / "s.tif", np.full((800, 800, 3), 240, np.uint8))
    assert set(look(tmp_path / "s.tif", tmp_path, square_feature("Tumor", 5, 5, 90, 90)).flags) == {"empty"}


def test_off_the_slide_is_flagged_with_figures(slide, tmp_path):
    near = [square_feature("Tumor", 150, 150, 350, 350), square_feature("Stroma", 690, 300, 802, 400)]
    assert look(slide, tmp_path, *near).flags == {}, "people draw over the edge"
    found = look(
        slide, tmp_path, near[0], square_feature("DCIS", 600, 600, 700, 700), square_feature("DCIS", 900, 0, 990, 100)
    )
    assert found.measures["off_slide_share"] == pytest.approx(9000 / 59_000, abs=1e-4)
    assert found.measures["off_slide_regions"] == 1 and set(found.flags) == {"off_slide"}
    assert found.flags["off_slide"].startswith("15% of the annotated area lies off the slide, 1 of 3 regions by more")
    assert found.quarantined(AuditConfig()) is None
    assert found.quarantined(AuditConfig(quarantine=("off_slide",))) == f"off_slide: {found.flags['off_slide']}"


def test_class_files_of_the_project():
    for name, glass in {
        "breast": {"background", "artefact", "bubble", "blur", "vessel", "unknown"},
        "bcss": {"vessel", "unknown"},
        "camelyon": set(),
        "glands": set(),
    }.items():
        classes = read_yaml(CLASSES / f"{name}.yaml")["shards"]["fine_classes"]
        assert {one for one in classes if may_be_glass(one)} == glass
    assert may_be_glass("Air bubbles") and may_be_glass("blood_vessel") and not may_be_glass("penile tumour")


def test_fingerprints_of_old_campaigns_stay():
    """What hashes of phases and slides see of the audit's settings."""
    assert AuditConfig().model_dump(mode="json") == {
        "quarantine": ["colour", "inverted", "empty"],
        "min_tissue": 0.002,
        "max_pen": 0.05,
        "max_blurred": 0.5,
    }


def test_phantoms_have_no_flags(phantoms):
    config = validate(read_yaml(CLASSES / "breast.yaml")["shards"], ShardsConfig, "test")
    for path in phantoms:
        with SlideReader(path) as reader:
            frame = Frame.of(reader)
            annotation = read_annotation(path.with_suffix(".geojson"), config, frame)
            found = with_labels(audit_slide(reader, TissueConfig(), AuditConfig()), annotation, config, frame.scanned)
        assert found.flags == {} and found.measures["labels_on_tissue"] > 0.99, path.stem
