"""The large slide of benchmarks.whole_slide is a slide, and a pass over it says what it took."""

import json

import tifffile

from benchmarks.whole_slide import memory
from shards.reader import SlideReader


def test_a_pass_over_a_synthetic_slide_says_what_it_took(tmp_path, capsys):
    slide = tmp_path / "slide.tif"
    memory.write_slide(slide, 4200)
    with SlideReader(slide) as reader:
        assert reader.levels == [(4200, 4200), (1050, 1050)] and abs(reader.mpp[0] - 0.5) < 1e-3
        assert reader.glass == (240, 240, 240)
    memory.main(str(slide), str(tmp_path), patch=256, cell=8)
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 525 and found["patches"] == 22**2 and found["peak"] >= found["before"]
    assert tifffile.imread(tmp_path / "classes.tif").shape == (525, 525)
