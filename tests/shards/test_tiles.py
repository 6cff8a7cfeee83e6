"""Tile + mask folders become slides whose labels are the masks, pixel by pixel; leaking splits are refused."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from launch.cli import main
from launch.config import load_campaign
from mlseg_core.config import read_yaml
from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import run_units
from mlseg_core.files import fingerprint, sha256_file
from shards import tiles
from shards.annotation import Frame, read_annotation
from shards.reader import SlideReader
from shards.slide_table import read_slide_table
from shards.tiles_config import TilesConfig
from tests.shards.slides_for_tests import ROOT, shards_config

REAL = ROOT.parent / "shared" / "realdata" / "glas"
CLASSES = {"0": "Stroma", "1": "DCIS", "2": "Tumor"}


def write_tiles(folder: Path, patients: int = 5) -> TilesConfig:
    (folder / "i").mkdir(parents=True)
    (folder / "m").mkdir()
    random = np.random.default_rng(0)
    lines = ["name,who,official"]
    for number in range(patients * 2):
        mask = np.zeros((90, 120), np.uint8)
        cv2.circle(mask, (40, 40), 25, 1, -1)
        cv2.circle(mask, (40, 40), 10, 0, -1)  # a hole
        mask[60:80, 70:110] = 2
        cv2.imwrite(str(folder / "i" / f"t{number}.png"), random.integers(0, 255, (90, 120, 3), np.uint8))
        cv2.imwrite(str(folder / "m" / f"t{number}.png"), mask)
        lines.append(f"t{number},P{number // 2},{'train' if number % 2 else 'test'}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return TilesConfig(
        folder=folder, images="i/{name}.png", masks="m/{name}.png", mpp=0.5, classes=CLASSES, patient="{who}"
    )


def test_labels_are_the_masks_and_splits_are_by_patient(tmp_path):
    config = write_tiles(tmp_path / "tiles")
    out = tmp_path / "slides"
    assert not run_units(tiles.units(config), tiles.draw, out)
    slides = read_slide_table(tiles.write_table(config, out))
    assert len(slides) == 10 and {s.split for s in slides} == {"train", "val", "test"}
    shards = shards_config()
    ids = [shards.fine_classes.index(name) for name in ("stroma", "dcis", "tumour")]
    for slide in slides[:3]:
        mask = cv2.imread(str(tmp_path / "tiles/m" / f"{slide.slide.stem}.png"), cv2.IMREAD_GRAYSCALE)
        with SlideReader(slide.slide) as reader:
            assert reader.size == (120, 90) and reader.mpp == pytest.approx((0.5, 0.5), rel=1e-3)
            image, _ = reader.read((60.0, 45.0), reader.mpp[0], 64)
        original = cv2.imread(str(tmp_path / "tiles/i" / f"{slide.slide.stem}.png"))[..., ::-1]
        assert np.abs(image.astype(int) - original[13:77, 28:92]).max() <= 1
        label = read_annotation(slide.annotation, shards, Frame((120, 90), (0.5, 0.5))).label(
            (0.0, 0.0), (1.0, 1.0), (120, 90)
        )
        assert np.array_equal(label, np.array(ids, np.uint8)[mask])


def test_outline_is_exact():
    mask = np.random.default_rng(1).random((20, 30)) < 0.5
    assert tiles.outline(mask).area == mask.sum()


def test_a_split_that_leaks_patients_is_refused(tmp_path):
    config = write_tiles(tmp_path).model_copy(update={"split": "{official}"})
    with pytest.raises(UserError, match=r"patient 'P0' is in two splits.*Split by patient"):
        tiles.units(config)


def test_a_patient_under_two_spellings_gets_one_split(tmp_path):
    config = write_tiles(tmp_path)
    plain = {row["image"]: row["split"] for row in (unit.payload[1] for unit in tiles.units(config))}
    table = tmp_path / "manifest.csv"
    other = "".join(
        line.replace(",P", ",p") if number % 2 else line
        for number, line in enumerate(table.read_text().splitlines(True))
    )
    table.write_text(other)
    rows = [unit.payload[1] for unit in tiles.units(config)]
    assert {row["patient"] for row in rows} > {"P0", "p0"}
    assert len({(row["patient"].casefold(), row["split"]) for row in rows}) == 5
    assert len(set(plain.values())) == 3
    with pytest.raises(UserError, match=r"'p0' \(line 2, test\) and 'P0' \(line 3, train\) differ only"):
        tiles.units(config.model_copy(update={"split": "{official}"}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"table": "none.csv"}, "no such table"),
        ({"images": "i/{nome}.png"}, "names no column"),
        ({"images": "j/{name}.png"}, "does not exist"),
    ],
)
def test_mistakes(tmp_path, change, said):
    with pytest.raises(UserError, match=said):
        tiles.units(write_tiles(tmp_path).model_copy(update=change))


def test_mask_values_that_nobody_mapped(tmp_path):
    config = write_tiles(tmp_path / "tiles").model_copy(update={"classes": {"0": "Stroma", "1": "DCIS"}})
    failed = run_units(tiles.units(config), tiles.draw, tmp_path / "out")
    assert failed and all(failure.mistake and "nobody mapped: 2" in failure.reason for failure in failed)
    assert not list((tmp_path / "out").glob("*.tif"))


@pytest.mark.skipif(not REAL.exists(), reason="GlaS is not on this machine")
def test_glas_official_split_leaks_and_ours_does_not(tmp_path, capsys):
    config = load_campaign(ROOT / "configs/glas.yaml", [f"tiles.folder={REAL}"]).tiles
    assert len(tiles.units(config)) == 121
    with open(REAL / "manifest.csv") as file:
        header, *rows = [line.rstrip("\n").split(",") for line in file]
    copied = [["test" if row[header.index("official_split")].startswith("test") else "train", *row] for row in rows]
    table = tmp_path / "leak.csv"
    table.write_text("\n".join(",".join(row) for row in [["split", *header], *copied]) + "\n")
    with pytest.raises(UserError, match="two splits"):
        tiles.units(config.model_copy(update={"table": str(table), "split": "{split}"}))


def test_import_command(tmp_path, capsys):
    config = write_tiles(tmp_path / "tiles", patients=5)
    path = tmp_path / "tiles.yaml"
    path.write_text(json.dumps(config.model_dump(mode="json", exclude={"folder"}) | {"folder": "elsewhere"}))
    assert main(["shards", "import", str(tmp_path / "tiles"), str(path), "--out", str(tmp_path / "out")]) == 0
    assert "slides.csv" in capsys.readouterr().out
    assert len(read_slide_table(tmp_path / "out/slides.csv")) == 10


def test_bcss_layout_without_a_table(tmp_path, capsys):
    """Images and masks of TCGA names: the patient is in the name, and the shipped config builds shards of them."""
    for folder in ("images", "masks"):
        (tmp_path / "BCSS" / folder).mkdir(parents=True)
    for number in range(6):
        name = f"TCGA-A1-{number:04d}-01Z-00-DX1.GUID_xmin100"
        mask = np.zeros((600, 700), np.uint8)
        mask[50:500, 60:300], mask[50:500, 300:600] = 1, 2
        image = np.full((600, 700, 3), 240, np.uint8)
        image[mask > 0] = np.random.default_rng(number).integers(80, 200, ((mask > 0).sum(), 3))
        cv2.imwrite(str(tmp_path / f"BCSS/images/{name}.png"), image)
        cv2.imwrite(str(tmp_path / f"BCSS/masks/{name}.png"), mask)
    config, out = str(ROOT / "configs/classes/bcss.yaml"), str(tmp_path / "slides")
    assert main(["shards", "import", str(tmp_path / "BCSS"), config, "--out", out]) == 0
    slides = read_slide_table(tmp_path / "slides/slides.csv")
    assert sorted(slide.patient for slide in slides) == [f"TCGA-A1-{number:04d}" for number in range(6)]
    words = [config, "shards.store_px=64", "--slides", f"{out}/slides.csv", "--out", str(tmp_path / "shards")]
    assert main(["shards", "build", *words]) == 0
    assert main(["shards", "verify", str(tmp_path / "shards")]) == 0


def test_bcss_values_are_the_published_ones():
    """gtruth_codes.tsv of Amgad et al. 2019, written out: value -> what a pixel of it is to us."""
    config = read_yaml(ROOT / "configs/classes/bcss.yaml")
    names, called = config["tiles"]["classes"], config["shards"]["annotation_classes"]
    fine = "ignored tumour stroma lymph necrosis unknown unknown ignored unknown normal lymph lymph unknown normal vessel ignored"
    fine += " unknown skin vessel tumour dcis unknown"
    assert [called[names[str(value)]] for value in range(22)] == fine.split()
    assert names["19"] == "Angioinvasion" and names["20"] == "DCIS" and names["9"] == "Fat"


def imported(tmp_path, capsys, *words):
    """Exit status, standard error, and what lies in the output folder."""
    config = TilesConfig(
        folder=tmp_path, images="i/{name}.png", masks="m/{name}.png", mpp=0.5, classes=CLASSES, patient="{who}"
    )
    path = tmp_path / "tiles.yaml"
    path.write_text(json.dumps(config.model_dump(mode="json")))
    status = main(["shards", "import", str(tmp_path / "tiles"), str(path), *words, "--out", str(tmp_path / "out")])
    return status, capsys.readouterr().err, sorted(tmp_path.glob("out/*"))


@pytest.mark.parametrize("kind", ["16 bits", "palette"])
def test_masks_of_other_kinds_give_all_their_classes(tmp_path, capsys, kind):
    write_tiles(tmp_path / "tiles")
    expected = {}
    for path in (tmp_path / "tiles/m").iterdir():
        expected[path.stem] = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        image = Image.fromarray(expected[path.stem].astype(np.uint16) if kind == "16 bits" else expected[path.stem])
        if kind == "palette":
            image.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
        image.save(path)
    assert imported(tmp_path, capsys)[0] == 0
    shards = shards_config()
    ids = np.array([shards.fine_classes.index(name) for name in ("stroma", "dcis", "tumour")], np.uint8)
    for name, mask in expected.items():
        drawn = read_annotation(tmp_path / "out" / f"{name}.geojson", shards, Frame((120, 90), (0.5, 0.5)))
        assert np.array_equal(drawn.label((0.0, 0.0), (1.0, 1.0), (120, 90)), ids[mask])


def turn_two(folder):
    exif = Image.Exif()
    exif[0x0112] = 3
    for name in ("t1", "t4"):
        Image.open(folder / f"i/{name}.png").save(folder / f"i/{name}.png", exif=exif.tobytes())


def other_size(folder):
    cv2.imwrite(str(folder / "m/t3.png"), np.zeros((90, 119), np.uint8))


def colours(folder):
    cv2.imwrite(str(folder / "m/t3.png"), np.dstack([np.full((90, 120), value, np.uint8) for value in (1, 2, 3)]))


def deep(folder):
    cv2.imwrite(str(folder / "i/t2.png"), np.full((90, 120, 3), 4000, np.uint16))


def twins(folder):
    (folder / "i/sub").mkdir()
    for part in ("i", "m"):
        (folder / part / "sub").mkdir(exist_ok=True)
        (folder / part / "sub/t0.png").write_bytes((folder / part / "t0.png").read_bytes())
    with open(folder / "manifest.csv", "a") as table:
        table.write("sub/t0,P0,test\n")


def short_row(folder):
    with open(folder / "manifest.csv", "a") as table:
        table.write("t1\n")


def latin(folder):
    (folder / "manifest.csv").write_bytes("name,who,official\nt0,Müller,test\n".encode("latin-1"))


def no_rows(folder):
    (folder / "manifest.csv").write_text("name,who,official\n")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (turn_two, ["i/t1.png", "EXIF orientation 3", "(and 1 more of 10 tiles are bad)"]),
        (other_size, ["m/t3.png", "119 × 90", "120 × 90"]),
        (deep, ["i/t2.png", "16-bit numbers from 4000 to 4000"]),
        (twins, ["manifest.csv", "two tiles are named 't0'", "sub/t0.png"]),
        (short_row, ["manifest.csv line 12", "field count differs"]),
        (latin, ["manifest.csv", "not a CSV file in UTF-8"]),
        (no_rows, ["manifest.csv", "no tiles in the table"]),
    ],
)
def test_bad_tiles_are_one_line_before_anything_is_written(tmp_path, capsys, spoil, said):
    write_tiles(tmp_path / "tiles")
    spoil(tmp_path / "tiles")
    status, error, files = imported(tmp_path, capsys)
    assert status == 2 and not files and error.count("\n") == 1
    assert all(word in error for word in said)


def test_colours_in_a_mask_leave_no_table(tmp_path, capsys):
    """Only its pixels tell a picture from grey saved as RGB."""
    write_tiles(tmp_path / "tiles")
    colours(tmp_path / "tiles")
    status, error, files = imported(tmp_path, capsys)
    assert status == 2 and "m/t3.png" in error and "in colours" in error
    assert not [file for file in files if file.name in ("slides.csv", "t3.tif", "t3.geojson")]


def test_a_class_that_is_no_number(tmp_path, capsys):
    write_tiles(tmp_path / "tiles")
    status, error, _ = imported(tmp_path, capsys, "classes={'tumor': Tumor}")
    assert status == 2 and "'tumor' is not a value that a mask can hold" in error


def test_names_with_quotes_and_commas_stay_whole(tmp_path):
    config = write_tiles(tmp_path / "tiles")
    table = tmp_path / "tiles/manifest.csv"
    table.write_text(table.read_text().replace(",P0,", ',"P ""0"", left",'))
    (tmp_path / "out").mkdir()
    assert not run_units(tiles.units(config), tiles.draw, tmp_path / "out")
    slides = read_slide_table(tiles.write_table(config, tmp_path / "out"))
    assert [slide.patient for slide in slides].count('P "0", left') == 2


def test_imports_of_plain_tiles_stay_valid_and_misread_ones_are_done_again(tmp_path):
    config = write_tiles(tmp_path / "tiles")
    mask = tmp_path / "tiles/m/t1.png"
    Image.fromarray(cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE).astype(np.uint16)).save(mask)
    for name, same in (("t0", True), ("t1", False)):
        unit = next(unit for unit in tiles.units(config) if unit.name == name)
        image, mask = (sha256_file(tmp_path / f"tiles/{part}/{name}.png") for part in "im")
        before = {"recipe": 1, "image": image, "mask": mask, "mpp": 0.5, "classes": CLASSES}
        assert (unit.inputs == fingerprint(before)) == same


def test_the_bytes_of_a_tile_and_its_table_stay(tmp_path):
    """As the recipe before wrote them."""
    config = write_tiles(tmp_path / "tiles", patients=1)
    unit = tiles.units(config)[0]
    assert not run_units([unit], tiles.draw, tmp_path / "out")
    with tifffile.TiffFile(tmp_path / "out/t0.tif") as tiff:
        page = tiff.pages.first
        assert (page.compression, page.tilewidth, page.tags.valueof("XResolution")) == (32946, 256, (20000, 1))
        original = cv2.imread(str(tmp_path / "tiles/i/t0.png"))[..., ::-1]
        assert np.array_equal(page.asarray(), original)
    first, row = tiles.write_table(config, tmp_path / "out").read_text().splitlines()[:2]
    assert first == "slide,patient,stain,scanner,source,split,annotation"
    assert row == '"t0.tif","P0","H&E","unknown","tiles","train","t0.geojson"'
