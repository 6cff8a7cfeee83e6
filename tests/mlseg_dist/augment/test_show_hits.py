"""`mlseg augment hits`: which pixels targeted_hsv shifts, on pictures and slides that people name."""

import numpy as np
import pytest
import skimage.data
import tifffile
from PIL import Image

from launch.cli import main
from mlseg_dist.augment.show import hits
from tests.mlseg_dist.augment.scene import CONFIGS, policy

PAPER = str(CONFIGS / "paper.yaml")


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "ihc.png"
    Image.fromarray(skimage.data.immunohistochemistry()).save(path)
    return path


def test_a_picture_of_each_image_and_a_line_with_its_shares(picture, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["augment", "hits", PAPER, "--images", str(picture), "--out", str(out)]
    assert main(command) == 0 and main(command) == 0, "ours may be written over"
    _, line = capsys.readouterr().out.splitlines()[-2:]
    assert line.startswith("blue 2.9%, brown 4.3%  ") and line.endswith(str(out / "hits-ihc.png.png"))
    shown = np.asarray(Image.open(out / "hits-ihc.png.png"))[22:].astype(int)
    before, hit = shown[:, :512], shown[:, 520:1032]
    assert np.array_equal(before, skimage.data.immunohistochemistry())
    kept = (before == hit).all(-1).mean()
    assert 0.01 < kept < 0.1, "only what is hit keeps its colour"
    assert (hit.min(-1) > 180).mean() > 0.85, "the rest is paled"


def test_of_a_slide_the_stained_field_is_shown(tmp_path):
    """A slide too large to be taken whole: glass, and in one corner tissue."""
    slide = np.full((2048, 4096, 3), 240, np.uint8)
    slide[1400:1912, 3300:3812] = skimage.data.immunohistochemistry()
    path = tmp_path / "slide.tif"
    tifffile.imwrite(
        path, slide, photometric="rgb", tile=(256, 256), resolution=(20000, 20000), resolutionunit="CENTIMETER"
    )
    image = hits.read(path, 0.5)
    assert image.shape == (2048, 2048, 3)
    (op,) = policy("targeted_hsv")
    share = {name: (weight >= hits.HIT).mean() for name, weight in hits.weights(op, image).items()}
    assert share["brown"] == pytest.approx(0.545 / 16, rel=0.02), "the whole of the tissue is in it"


def test_mistakes_are_told_in_a_line_and_nothing_is_written(picture, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["augment", "hits", PAPER, "--out", str(out), "--images"]
    assert main([*command, str(picture), str(tmp_path / "none.svs")]) == 2
    (tmp_path / "text.png").write_text("no picture")
    assert main([*command, str(picture), str(tmp_path / "text.png")]) == 2
    assert main([*command, str(picture), str(picture)]) == 2
    assert (
        main(["augment", "hits", str(CONFIGS / "proof/groups.yaml"), "--images", str(picture), "--out", str(out)]) == 2
    )
    said = capsys.readouterr().err
    assert "none.svs" in said and "same name" in said and "no step's policy has targeted_hsv" in said
    assert "text.png" in said and said.count("\n") == 4 and not out.exists()
    out.mkdir()
    (out / "hits-ihc.png.png").write_bytes(b"mine")
    assert main([*command, str(picture)]) == 2
    assert (out / "hits-ihc.png.png").read_bytes() == b"mine"
