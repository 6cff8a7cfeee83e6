"""Real slides and regions: what must be flagged is, and nothing good goes into quarantine."""

from pathlib import Path

import cv2
import pytest

from shards.audit import audit_slide
from shards.audit.config import AuditConfig, TissueConfig
from shards.reader import SlideReader
from tests.shards.audit.pictures import open_picture

REAL = Path(__file__).parents[3] / "../shared/realdata"
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="the real slides are not here (../shared/realdata)")

SLIDES = [
    ("wsi/cmu-1-small-region.svs", None, set(), (0.35, 0.45)),
    ("wsi/tcga-cr-7395-01a-01-ts1.svs", 0.5, set(), (0.60, 0.68)),  # a fifth is white padding beside grey glass
    ("ihc/OS-2-ndpi.ome.tif", None, set(), (0.75, 0.90)),
    ("wsi_dicom/level-0-frames-0-30.dcm", None, {"colour"}, None),
    ("ihc/kidney-48-5.tif", 0.5, {"empty"}, (0.0, 0.002)),
]
SHARP = [
    ("wsi/cmu-1-small-region.svs", None, (1100.0, 2200.0)),
    ("wsi/tcga-cr-7395-01a-01-ts1.svs", 0.5, (2500.0, 1500.0)),
    ("ihc/OS-2-ndpi.ome.tif", None, (1400.0, 700.0)),
]
TILES = [
    ("almost-white-1.png", {"empty"}),
    ("almost-white-ihc.png", {"empty"}),
    ("no-tissue.png", {"empty"}),
    ("no-tissue-green-pen.png", {"empty", "pen"}),
    ("no-tissue-red-pen.png", {"empty", "pen"}),
    ("tcga-green-pen.png", {"pen"}),
    ("tcga-red-pen.png", {"pen"}),
    ("kidney-ihc-level0-310-500-360-530.png", set()),
]


@pytest.mark.parametrize(("name", "mpp", "flags", "tissue"), SLIDES)
def test_slides(name, mpp, flags, tissue):
    with SlideReader(REAL / name, mpp) as reader:
        found = audit_slide(reader, TissueConfig(), AuditConfig())
    print(name, found.measures, found.flags)
    assert set(found.flags) == flags
    assert tissue is None or tissue[0] <= found.measures["tissue_share"] <= tissue[1]
    if not flags:
        assert found.measures["pen_share"] == 0 and found.measures["blurred_share"] == 0


@pytest.mark.parametrize(("name", "mpp", "center"), SHARP)
def test_blur_of_known_sigma(tmp_path, name, mpp, center):
    with SlideReader(REAL / name, mpp) as reader:
        region = reader.read(center, reader.mpp[0], 1024)[0]
        own = reader.mpp[0]
    for sigma_um in (0, 2, 3, 4):
        shown = cv2.GaussianBlur(region, (0, 0), sigma_um / own) if sigma_um else region
        with open_picture(tmp_path / "region.tif", shown, own) as reader:
            found = audit_slide(reader, TissueConfig(), AuditConfig())
        print(name, sigma_um, found.measures["sharpness_p50"])
        assert ("blurred" in found.flags) == (sigma_um > 0), sigma_um


@pytest.mark.parametrize(("name", "flags"), TILES)
def test_bad_regions(tmp_path, name, flags):
    rgb = cv2.cvtColor(cv2.imread(str(REAL / "badregions" / name)), cv2.COLOR_BGR2RGB)
    with open_picture(tmp_path / "tile.tif", rgb, 1.0) as reader:
        found = audit_slide(reader, TissueConfig(), AuditConfig())
    print(name, found.measures, found.flags)
    assert set(found.flags) == flags


def test_glas_tiles_are_good(tmp_path):
    """H&E, mostly without glass: nothing flagged, hardly any tissue lost. The least has two fifths of glass."""
    tiles = sorted((REAL / "glas/images").glob("*.jpg"))
    assert len(tiles) == 121
    shares = {}
    for tile in tiles[::3]:
        rgb = cv2.cvtColor(cv2.imread(str(tile)), cv2.COLOR_BGR2RGB)
        with open_picture(tmp_path / "tile.tif", rgb, 0.62) as reader:
            found = audit_slide(reader, TissueConfig(), AuditConfig())
        assert found.flags == {} and found.measures["pen_share"] == 0, tile.name
        shares[tile.name] = found.measures["tissue_share"]
    few = {name for name, share in shares.items() if share < 0.8}
    print(few)
    assert min(shares.values()) > 0.45
    assert len(few) < 4  # those with a wide strip of glass
