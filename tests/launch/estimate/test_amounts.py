"""Expected numbers of patches: slides are looked at as they will be cut."""

from dataclasses import replace

import pytest

from launch.config import load_campaign
from launch.estimate import amounts
from shards.slide_table import Slide
from tests.shards.slides_for_tests import ROOT, square_feature, tissue_slide, write_annotation, write_scn


@pytest.mark.parametrize(("origin", "annotated"), [(None, 28), ("bounds", 28), ("level0", 0)])
def test_annotations_are_counted_from_the_origin_of_their_slide(tmp_path, origin, annotated):
    """By QuPath's rule 36 seeds lie on Tumor, of which the demo keeps 28; counted from level 0 the slide is refused."""
    config = load_campaign(ROOT / "configs/demo.yaml")
    write_scn(tmp_path / "s.scn", tissue_slide(3, 1024), at=(1000, 600), glass=(3000, 2000))
    write_annotation(tmp_path / "a.geojson", square_feature("Tumor", 300, 300, 500, 500))
    slide = Slide(tmp_path / "s.scn", "P0", "ER", "Leica", "DS1", "val", tmp_path / "a.geojson", None, None)
    seeds, learnt = amounts._seeds(config, replace(slide, origin=origin))
    assert seeds == learnt == annotated
