"""Tissue against glass on phantoms of every stain: pale stroma counts, glass does not."""

import numpy as np
import pytest

from shards import phantom
from shards.phantom.config import PhantomConfig
from shards.reader import SlideReader
from shards.tissue import find_tissue


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    from mlseg_core.map import run_units

    folder = tmp_path_factory.mktemp("phantoms")
    config = PhantomConfig(size_um=2400.0, mpp=2.0, train=4, val=0, test=0, dev_unseen=1, final_unseen=1)
    assert not run_units(phantom.units(config), phantom.draw, folder)
    return sorted(folder.glob("*.tif"))


def test_nearly_all_tissue_and_hardly_any_glass(slides):
    assert len(slides) == 6
    for path in slides:
        with SlideReader(path) as reader:
            tissue = find_tissue(reader)
            side = tissue.mask.shape[0]
            middle = tissue.mask[side // 4 : -side // 4, side // 4 : -side // 4]
            corners = [tissue.mask[: side // 40, : side // 40], tissue.mask[-side // 40 :, -side // 40 :]]
        print(f"{path.stem}: {middle.mean():.2f} of the middle, {tissue.mask.mean():.2f} of the slide")
        assert middle.mean() > 0.85
        assert max(np.mean(c) for c in corners) < 0.1


def test_points_off_the_slide_are_not_tissue(slides):
    with SlideReader(slides[0]) as reader:
        tissue = find_tissue(reader)
        width, height = reader.size
    found = tissue.at(np.array([width / 2, -1.0, width + 1.0]), np.array([height / 2, 5.0, height / 2]))
    assert found.tolist() == [True, False, False]
