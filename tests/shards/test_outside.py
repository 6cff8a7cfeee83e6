"""What a corpus calls outside is what no label reaches, to the pixel: cut from tiles and slides that are labelled everywhere."""

import json

import cv2
import numpy as np
import pytest

from mlseg_core.exactly_once.run import run_units
from shards import cutting, tiles
from shards.manifest import Manifest
from shards.outside import Outside, box_on_slide
from shards.sample import decode_label
from shards.tar import BadShard, ShardReader
from shards.tiles_config import TilesConfig
from tests.shards.slides_for_tests import (
    HEADER,
    shards_config,
    square_feature,
    tissue_slide,
    write_annotation,
    write_scn,
    write_slide,
)


def corpus_of(table, out, **changes) -> Manifest:
    config = shards_config(audit={"quarantine": ()}, **changes)
    todo = cutting.units(config, table)
    assert not run_units(todo, cutting.cut, out, describe=cutting.describe)
    return cutting.write_manifest(config, table, todo, out)


def check_against_labels(manifest, folder) -> dict[str, int]:
    """Everything on the slides is labelled, so what is not is outside. Returns view -> pixels outside."""
    outside, seen = Outside(manifest), {"high": 0, "low": 0}
    for entry in manifest.shards:
        with ShardReader(folder / entry.name, manifest.members) as shard:
            for row in range(len(shard)):
                members, off = shard.read(row), {stride: outside.of_row(shard, row, stride) for stride in (1, 2, 4)}
                for view in seen:
                    unlabelled = decode_label(members[f"{view}.png"]) == 255
                    assert (view in off[1]) == unlabelled.any(), shard.key(row)
                    seen[view] += int(unlabelled.sum())
                    for stride, found in off.items():
                        side = len(unlabelled) // stride
                        cells = unlabelled.reshape(side, stride, side, stride).any(axis=(1, 3))
                        assert np.array_equal(found.get(view, np.zeros_like(cells)), cells), (shard.key(row), view)
    return seen


@pytest.mark.parametrize("mpp", [0.62, 0.5, 0.31])
def test_tiles_smaller_than_the_low_view_end_where_their_labels_end(tmp_path, mpp):
    """Odd sizes; 102 = 4 x 25 + 2, so that at 0.62 µm/px the border meets the middle of low pixels."""
    for folder in ("i", "m"):
        (tmp_path / "tiles" / folder).mkdir(parents=True)
    random, lines = np.random.default_rng(0), ["name,who"]
    for number, (width, height) in enumerate([(101, 67), (102, 99), (63, 31)]):
        picture = random.integers(60, 200, (height, width, 3)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"tiles/i/t{number}.png"), picture)
        cv2.imwrite(str(tmp_path / f"tiles/m/t{number}.png"), np.zeros((height, width), np.uint8))
        lines.append(f"t{number},P{number}")
    (tmp_path / "tiles/manifest.csv").write_text("\n".join(lines) + "\n")
    given = {"images": "i/{name}.png", "masks": "m/{name}.png", "mpp": mpp, "classes": {"0": "Stroma"}}
    config = TilesConfig(folder=tmp_path / "tiles", patient="{who}", val_fraction=0, test_fraction=0, **given)
    assert not run_units(tiles.units(config), tiles.draw, tmp_path / "slides")
    table, out = tiles.write_table(config, tmp_path / "slides"), tmp_path / "shards"
    manifest = corpus_of(table, out, high_mpp=0.62, low_mpp=2.48, store_px=64, stride_um=9.92)
    pairs = manifest.totals["samples"]
    seen = check_against_labels(manifest, out)
    assert pairs > 10 and seen["low"] > 0.5 * pairs * 64**2 and seen["high"] > 0.1 * pairs * 64**2


def test_what_a_scanner_left_out_is_outside(tmp_path):
    """Of this glass the file says which part was scanned; the rest is as blank as what lies beyond the glass."""
    write_scn(tmp_path / "s.scn", tissue_slide(0, 512), at=(301, 203), glass=(1400, 1200))
    write_annotation(tmp_path / "s.geojson", square_feature("Stroma", 0, 0, 512, 512))
    (tmp_path / "slides.csv").write_text(HEADER + "s.scn,P0,ER,Leica,DS1,train,s.geojson,,\n")
    manifest = corpus_of(tmp_path / "slides.csv", tmp_path / "out", high_mpp=1.0, low_mpp=4.0, stride_um=64.0)
    (slide,) = manifest.slides
    assert slide.inside.high == (301, 203, 813, 715)
    assert min(check_against_labels(manifest, tmp_path / "out").values()) > 0


def test_a_corpus_of_an_earlier_version_says_nothing_and_keeps_its_bytes(tmp_path):
    write_slide(tmp_path / "s.tif", tissue_slide(0, 256))
    write_annotation(tmp_path / "s.geojson", square_feature("Stroma", 0, 0, 256, 256))
    (tmp_path / "slides.csv").write_text(HEADER + "s.tif,P0,ER,Leica,DS1,train,s.geojson,,\n")
    corpus_of(tmp_path / "slides.csv", tmp_path / "out", high_mpp=1.0, low_mpp=4.0, stride_um=64.0)
    now = json.loads((tmp_path / "out/manifest.json").read_text())
    assert now["slides"][0].pop("inside")["high"] == [0, 0, 256, 256]
    earlier = Manifest.model_validate_json(json.dumps(now))
    assert earlier.model_dump(mode="json") == now, "no key that its own version did not write"
    with ShardReader(tmp_path / "out" / earlier.shards[0].name, earlier.members) as shard:
        assert Outside(earlier).of_row(shard, 0) == {}


def test_a_pair_that_does_not_say_where_it_lies_is_named(tmp_path):
    slide = {"slug": "s", "slide": "s", "patient": "p", "stain": "", "scanner": "", "source": "", "split": "train"}
    raw = {"version": 2, "kind": "corpus", "fingerprint": "", "members": [], "classes": [], "shards": [], "totals": {}}
    views = {"high_mpp": 1.0, "low_mpp": 4.0, "store_px": 32}
    inside = {"high": [0, 0, 9, 9], "low": [0, 0, 2, 2]}
    manifest = Manifest.model_validate_json(json.dumps(raw | {"views": views, "slides": [slide | {"inside": inside}]}))
    for info in ('{"slug": "s"}', '{"slug": "t", "center": [1, 1], "mpp0": [1, 1]}', "[", "7"):
        with pytest.raises(BadShard, match=r"s\+y1\.json does not say where the pair lies"):
            Outside(manifest).of(info.encode(), "s+y1", lambda member: b"")


def test_the_first_pixel_is_the_one_whose_middle_is_on_the_slide():
    assert box_on_slide((10, 10), (1.0, 1.0), None, 4.0) == (0, 0, 2, 2), "the middle of the third lies on the border"
    assert box_on_slide((11, 10), (1.0, 2.0), None, 4.0) == (0, 0, 3, 5)
    assert box_on_slide((100, 100), (1.0, 1.0), (2, 3, 9, 200), 4.0) == (0, 1, 3, 25)
