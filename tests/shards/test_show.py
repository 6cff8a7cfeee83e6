"""mlseg shards show: one page that says what the manifest says, runs nothing and loads nothing."""

import argparse
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from launch.commands import shards_look
from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import map_in_processes
from shards import cutting
from shards.manifest import Manifest, read_manifest
from shards.show import cards, pairs
from shards.show.colours import class_colours
from shards.show.page import render
from shards.show.remarks import remarks
from shards.show.sources import read_corpus
from shards.slide_table import SPLITS
from tests.shards.slides_for_tests import (
    HEADER,
    shards_config,
    square_feature,
    tissue_slide,
    write_annotation,
    write_scn,
    write_slide,
)

EVIL = "<script>alert(1)</script>"
IMAGE = "<img src=x onerror=alert(2)>"
VOID = {"meta", "img", "input", "br", "link", "base", "hr"}


class Page(HTMLParser):
    """Elements, attributes, texts and tables (id -> rows of cell texts with their titles) of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.tables: dict[str, list[list[tuple[str, str]]]] = {}
        self.open: list[str] = []
        self._table: list[list[tuple[str, str]]] | None = None
        self._in_cell = False
        self.feed(text)
        self.close()
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._table = self.tables[attributes["id"]] = []
        elif tag == "tr":
            self._table.append([])
        elif tag in ("td", "th"):
            self._table[-1].append(("", attributes.get("title") or ""))
            self._in_cell = True

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data):
        self.text.append(data)
        if self._in_cell:
            said, title = self._table[-1][-1]
            self._table[-1][-1] = (said + data, title)


def build_corpus(folder: Path, config, rows: list[str], names: list[str], empty: str = "") -> Path:
    """Slides of tissue with Tumor, DCIS and Stroma squares; `empty` holds glass only."""
    slides = folder / "slides"
    slides.mkdir()
    for number, name in enumerate(names):
        image = np.full((800, 800, 3), 240, np.uint8) if name == empty else tissue_slide(number)
        write_slide(slides / name, image)
        squares = [("Stroma", 100, 100, 420, 700), ("Tumor", 150, 150, 350, 350), ("DCIS", 450, 450, 650, 650)]
        write_annotation(slides / f"{number}.geojson", *(square_feature(*square) for square in squares))
    (slides / "slides.csv").write_text(HEADER + "".join(rows), encoding="utf-8")
    todo = cutting.units(config, slides / "slides.csv")
    map_in_processes(todo, cutting.cut, folder / "corpus", 1, describe=cutting.describe)
    cutting.write_manifest(config, slides / "slides.csv", todo, folder / "corpus")
    return folder / "corpus"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Five slides, the last one empty and so in quarantine."""
    config = shards_config(tissue_stride_um=192.0, max_per_class=12, max_quarantined=0.5)
    stains, scanners = ("ER", "PR", "ER", "H&E", "ER"), ("Philips", "Motic", "Philips", "Aperio", "Philips")
    splits = ("train", "train", "val", "test", "train")
    rows = [f"s{i}.tif,P{i},{stains[i]},{scanners[i]},DS{i % 2},{splits[i]},{i}.geojson,,{i + 1}\n" for i in range(5)]
    return build_corpus(tmp_path_factory.mktemp("show"), config, rows, [f"s{i}.tif" for i in range(5)], empty="s4.tif")


@pytest.fixture
def corpus(built, tmp_path):
    """A copy to change."""
    return Path(shutil.copytree(built, tmp_path / "corpus"))


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    """Markup wherever a user can write: slide, class, patient, stain, scanner, source."""
    base = shards_config()
    fine = tuple({"tumour": EVIL, "dcis": IMAGE}.get(name, name) for name in base.fine_classes)
    config = shards_config(
        fine_classes=list(fine),
        annotation_classes={"Stroma": "stroma", "Tumor": EVIL, "DCIS": IMAGE},
        priority=[EVIL, IMAGE],
        max_per_class=8,
        max_quarantined=0.5,
    )
    names = ["<img src=x onerror=alert(3)>.tif", '"><svg onload=alert(4)>.tif', "plain & simple.tif"]
    rows = []
    for number, (name, split) in enumerate(zip(names, ("train", "val", "train"), strict=True)):
        quoted = name.replace('"', '""')
        rows.append(f'"{quoted}","{EVIL}{number}","{EVIL}","{IMAGE}","{EVIL}",{split},{number}.geojson,,{number}\n')
    return build_corpus(tmp_path_factory.mktemp("evil"), config, rows, names, empty=names[2])


def edit_manifest(folder: Path, edit) -> None:
    tree = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    edit(tree)
    (folder / "manifest.json").write_text(json.dumps(tree), encoding="utf-8")


def edit_overview(folder: Path, slug: str, **changes) -> None:
    row = next(slide for slide in read_manifest(folder / "manifest.json").slides if slide.slug == slug)
    path = folder / row.overview
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def assert_inert(page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in ("script", "iframe", "object", "embed", "link", "base", "form")
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "action", "srcset", "data", "poster", "background"):
            assert (attributes.get(name) or "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")
        assert "url(" not in (attributes.get("style") or "")


def test_nothing_is_run_and_nothing_is_loaded(built, evil):
    for folder in (built, evil):
        text = render(folder)
        page = Page(text)
        assert_inert(page)
        policy = next(a for t, a in page.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy")
        assert policy["content"] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
        assert not re.search(r"https?:|//[a-z]|url\(|@import", re.sub(r"base64,[A-Za-z0-9+/=]+", "", text))


def test_names_with_markup_are_shown_not_run(evil):
    page = Page(render(evil))
    shown = " ".join(page.text)
    for name in (EVIL, IMAGE, "<img src=x onerror=alert(3)>.tif", '"><svg onload=alert(4)>.tif', "plain & simple.tif"):
        assert name in shown


def test_markup_in_overviews_and_the_quarantine_list_is_shown_not_run(corpus):
    edit_overview(
        corpus, "s0", flags={EVIL: EVIL}, dropped={EVIL: 3}, vendor=EVIL, measures={EVIL: 1.0, "tissue_share": 0.5}
    )
    (corpus / "quarantine.csv").write_text(f"slide,slug,reason,traceback\n/x/{IMAGE},{EVIL},{EVIL},{EVIL}\n")
    page = Page(render(corpus))
    assert_inert(page)
    assert "".join(page.text).count(EVIL) >= 5


def number(text: str) -> int:
    return 0 if text == "–" else int(text.replace(",", ""))


def sums(manifest: Manifest, what: str, split: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for shard in manifest.shards:
        for name, value in getattr(shard, what).items() if shard.split == split else ():
            found[name] = found.get(name, 0) + value
    return found


def test_every_number_of_the_tables_is_the_manifests(built):
    manifest = read_manifest(built / "manifest.json")
    tables = Page(render(built)).tables
    used = [split for split in SPLITS if any(slide.split == split for slide in manifest.slides)]
    assert used == ["train", "val", "test"]

    head, *rows, last = tables["samples-by-class"]
    assert [text for text, _ in head[1:]] == used
    named = {row[0][0]: [number(text) for text, _ in row[1:]] for row in rows}
    samples = [sum(shard.samples for shard in manifest.shards if shard.split == split) for split in used]
    seeds = [sums(manifest, "seeds", split) for split in used]
    unannotated = named.pop("unannotated tissue")
    assert set(named) == set().union(*seeds) == {"tumour", "stroma", "dcis"}
    assert named == {name: [found.get(name, 0) for found in seeds] for name in named}
    assert unannotated == [all_ - sum(found.values()) for all_, found in zip(samples, seeds, strict=True)]
    assert unannotated[0] > 0
    assert [number(text) for text, _ in last[1:]] == samples

    _, *rows, last = tables["pixels-by-class"]
    for split, column in zip(used, range(1, 4), strict=True):
        pixels = sums(manifest, "pixels", split)
        assert {row[0][0]: number(row[column][1].split(" ")[0]) for row in rows} == pixels
        assert number(last[column][0]) == sum(pixels.values())
        shares = [float(row[column][0].removesuffix(" %")) / 100 for row in rows]
        assert shares == pytest.approx([pixels[row[0][0]] / sum(pixels.values()) for row in rows], abs=0.006)

    good = [slide for slide in manifest.slides if not slide.quarantined]
    of_slide = {slide.slug: sum(s.samples for s in manifest.shards if s.slide == slide.slug) for slide in good}
    _, _, whole, *rows = tables["slides-by-group"]
    kind = ""
    seen = set()
    for row in [whole, *rows]:
        if len(row) == 1:
            kind = row[0][0]
            continue
        here = [slide for slide in good if not kind or getattr(slide, kind) == row[0][0]]
        groups = [[slide for slide in here if slide.split == split] for split in used] + [here]
        expected = [value for found in groups for value in (len(found), sum(of_slide[s.slug] for s in found))]
        assert [number(text) for text, _ in row[1:]] == expected
        seen.add((kind, row[0][0]))
    assert len(seen) == 1 + 3 + 3 + 2
    assert number(whole[-1][0]) == manifest.totals["samples"]

    by_name = {row[0][0].removesuffix("emptyquarantine"): row for row in tables["all-slides"][1:]}
    assert {slide.slide: of_slide.get(slide.slug, 0) for slide in manifest.slides} == {
        name: number(row[7][0]) for name, row in by_name.items()
    }


def test_what_was_dropped_is_added_up(corpus):
    edit_overview(corpus, "s0", dropped={"over the cap: tumour": 3, "between annotations": 10})
    edit_overview(corpus, "s1", dropped={"over the cap: tumour": 1_000})
    for slug in ("s2", "s3", "s4"):
        edit_overview(corpus, slug, dropped={})
    rows = Page(render(corpus)).tables["dropped"][1:]
    assert [[text for text, _ in row] for row in rows] == [
        ["over the cap: tumour", "1,003", "2"],
        ["between annotations", "10", "1"],
    ]


def test_the_same_corpus_gives_the_same_bytes(built):
    assert render(built) == render(built)


def test_a_quarantined_slide_stands_there_with_its_reason(built):
    manifest = read_manifest(built / "manifest.json")
    reason = next(slide.quarantined for slide in manifest.slides if slide.slug == "s4")
    page = Page(render(built))
    ((name, reason_shown),) = [[text for text, _ in row] for row in page.tables["quarantine"][1:]]
    assert (name, reason_shown) == ("s4.tif", reason) and reason
    assert cards.chosen(read_corpus(built))[0].slug == "s4", "its card comes first"
    assert any("1 slide in quarantine" in remark.sentence and remark.serious for remark in remarks(read_corpus(built)))


@pytest.mark.parametrize("damage", ["gone", "text", "half", "picture"])
def test_a_missing_or_damaged_overview_still_gives_a_page(corpus, damage):
    row = next(slide for slide in read_manifest(corpus / "manifest.json").slides if slide.slug == "s0")
    path = corpus / row.overview
    if damage == "gone":
        path.unlink()
    elif damage == "text":
        path.write_text("{")
    elif damage == "half":
        path.write_text('{"version": 1, "slug": "s0"}')
    else:
        path.with_suffix(".thumb.jpg").write_bytes(b"no picture")
    page = Page(render(corpus))
    assert "no thumbnail" in page.text and "s0.tif" in page.text
    if damage != "picture":
        assert any("without an overview" in text for text in page.text)


def test_a_name_in_the_manifest_is_not_followed_out_of_the_corpus(corpus):
    edit_manifest(corpus, lambda tree: tree["slides"][0].update(overview="../../slides/slides.csv"))
    with pytest.raises(UserError, match=r"slides\.0\.overview.*leads out of the folder"):
        render(corpus)


def test_a_damaged_shard_is_said_not_hidden(corpus):
    for shard in read_manifest(corpus / "manifest.json").shards:
        (corpus / shard.name).write_bytes(b"")
    page = Page(render(corpus))
    assert any("24 more could not be read" in text for text in page.text)
    assert not [tag for tag, _ in page.tags if tag == "img"]


def test_sample_pairs_are_spread_and_none_comes_twice(built):
    corpus = read_corpus(built)
    samples, unreadable = pairs.load(corpus)
    assert unreadable == 0 and 20 <= len(samples) <= pairs.MOST_PAIRS
    assert len({sample.key for sample in samples}) == len(samples)
    assert {sample.name for sample in samples} == {"stroma", "tumour", "dcis", "unannotated tissue"}
    for name in ("stroma", "tumour", "dcis"):
        assert {sample.slide.slug for sample in samples if sample.name == name} == {"s0", "s1", "s2", "s3"}
    for sample in samples:
        seed = corpus.manifest.classes.index(sample.name) if sample.name != "unannotated tissue" else 255
        assert sample.high_label[32, 32] == seed


def test_the_frame_in_the_low_view_is_the_high_views_field(built):
    samples, _ = pairs.load(read_corpus(built))
    framed = pairs._framed(samples[0].low.copy(), 0.25)
    rows, columns = np.nonzero((framed == 20).all(axis=-1))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (24, 40, 24, 40), "the centre quarter of 64 px"


def test_labels_are_drawn_in_the_colours_of_the_legend(built):
    corpus = read_corpus(built)
    colours = class_colours(corpus.manifest.classes)
    table = np.zeros((256, 3), np.float32)
    table[3] = [int(colours["tumour"][i : i + 2], 16) for i in (1, 3, 5)]
    image, label = np.full((40, 40, 3), 100, np.uint8), np.full((40, 40), 255, np.uint8)
    label[:, 20:] = 3
    drawn = pairs._covered(image, label, table).astype(float)
    assert drawn[20, 30] == pytest.approx(0.55 * 100 + 0.45 * table[3], abs=1)
    assert (drawn[:, 20] == table[3]).all(), "the border is in full colour"


def test_outlines_patches_and_tissue_lie_where_the_overview_says(corpus):
    """A thumbnail of 100 px, a slide of 1000: the drawn points are a tenth."""
    row = next(slide for slide in read_manifest(corpus / "manifest.json").slides if slide.slug == "s0")
    path = corpus / row.overview
    square = [[200, 300], [600, 300], [600, 700], [200, 700]]
    edit_overview(
        corpus,
        "s0",
        size=[1000, 1000],
        mpp=[1.0, 1.0],
        outlines=[[3, square]],
        seeds=[[400, 500, 3]],
        patch_um=[200, 800],
    )
    mask = np.zeros((100, 100), np.uint8)
    mask[10:90, 20:80] = 255
    path.with_suffix(".tissue.png").write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    path.with_suffix(".thumb.jpg").write_bytes(cv2.imencode(".jpg", np.zeros((100, 100, 3), np.uint8))[1].tobytes())
    loaded = read_corpus(corpus)
    drawn = cards.card(loaded, loaded.manifest.slides[0], class_colours(loaded.manifest.classes))
    paths = re.findall(r' d="([^"]+)"', drawn)
    points = [np.array(re.findall(r"(-?[\d.]+) (-?[\d.]+)", path), float) for path in paths]
    tissue, veil, _, seed, outline = points
    assert (tissue.min(axis=0), tissue.max(axis=0)) == (pytest.approx([20, 10], abs=1), pytest.approx([80, 90], abs=1))
    assert veil.tolist() == [[30, 40]] and "h20v20h-20" in paths[1]
    assert seed.tolist() == [[40, 50]]
    assert sorted(map(tuple, outline.tolist())) == [(20, 30), (20, 70), (60, 30), (60, 70)]


def test_large_outlines_and_many_seeds_stay_small(corpus):
    turn = np.linspace(0, 2 * np.pi, 200_000)
    wobbly = np.stack([400 + 300 * np.cos(turn) + 9 * np.cos(900 * turn), 400 + 300 * np.sin(turn)], axis=1).tolist()
    edit_overview(corpus, "s0", outlines=[[3, wobbly]] * 3, seeds=[[i % 800, i // 7, 3] for i in range(5000)])
    loaded = read_corpus(corpus)
    assert len(cards.card(loaded, loaded.manifest.slides[0], class_colours(loaded.manifest.classes))) < 300_000


def test_hundreds_of_slides_give_a_bounded_page_that_says_what_it_left_out(corpus):
    def many(tree):
        row = tree["slides"][1]
        tree["slides"] += [row | {"slug": f"x{i}", "slide": f"x{i}.tif", "patient": f"X{i}"} for i in range(400)]

    edit_manifest(corpus, many)
    text = render(corpus)
    page = Page(text)
    assert sum(attributes.get("class") == "card" for _, attributes in page.tags) == cards.MOST_CARDS == 60
    assert any("60 of 405 slides" in said and "the other 345 are in the table" in said for said in page.text)
    assert len(page.tables["all-slides"]) == 406
    assert len(text) < 15_000_000


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (
            lambda t: [s["seeds"].pop("tumour") for s in t["shards"] if s["split"] == "val"],
            "Split val has no sample of tumour",
        ),
        (
            lambda t: [s["seeds"].pop("dcis") for s in t["shards"] if s["split"] == "train"],
            "samples of dcis; train has none",
        ),
        (lambda t: t["slides"][3].update(stain="Ki67"), "Stain Ki67 occurs only in test"),
        (lambda t: [s["pixels"].update(tumour=10**9) for s in t["shards"] if s["split"] == "val"], "tumour is"),
        (lambda t: t["slides"].append(t["slides"][0] | {"slug": "z", "slide": "z.tif"}), "without a single sample"),
        (lambda t: t["slides"][3].update(split="train"), "Split test has no patient"),
    ],
)
def test_what_a_person_should_see_first(corpus, edit, said):
    before = [remark.sentence for remark in remarks(read_corpus(corpus))]
    edit_manifest(corpus, edit)
    after = [remark.sentence for remark in remarks(read_corpus(corpus))]
    assert any(said in sentence for sentence in set(after) - set(before))


def test_flags_are_counted_and_their_slides_come_first(corpus):
    edit_overview(corpus, "s3", flags={"pen": "6 % of the slide is painted."})
    loaded = read_corpus(corpus)
    assert [slide.slug for slide in cards.chosen(loaded)[:2]] == ["s4", "s3"]
    assert any(re.search(r"Flagged slides:.*1 pen", remark.sentence) for remark in remarks(loaded))
    assert "6 % of the slide is painted." in Page(render(corpus)).text


def test_the_command_writes_the_page_and_says_where(built, corpus, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    shards_look.add(parser.add_subparsers())
    for extra, out in (([], corpus / "index.html"), (["--out", str(tmp_path / "x.html")], tmp_path / "x.html")):
        arguments = parser.parse_args(["show", str(corpus), *extra])
        assert arguments.run(arguments) == 0
        assert capsys.readouterr().out.strip() == str(out)
        assert out.read_text(encoding="utf-8") == render(corpus)
    edit_manifest(corpus, lambda tree: tree.update(kind="labels"))
    with pytest.raises(UserError, match="hold labels or styled views, not pairs"):
        render(corpus)
    with pytest.raises(UserError, match="no such file"):
        render(tmp_path)


def test_the_page_says_where_annotations_lie_and_what_was_left_out(tmp_path):
    folder = tmp_path / "slides"
    write_scn_corpus(folder)
    todo = cutting.units(shards_config(store_px=32, max_quarantined=0.9), folder / "slides.csv")
    map_in_processes(todo, cutting.cut, tmp_path / "out", 1, describe=cutting.describe)
    cutting.write_manifest(todo[0].payload[0], folder / "slides.csv", todo, tmp_path / "out")
    page = Page(render(tmp_path / "out"))
    text = " ".join(page.text)
    assert "GeoJSON, counted from the scanned bounds at (1000, 600); left out: 1 on another z plane (z 2)" in text
    assert "Regions on other planes than the one that was taken are left out: 1 on 1 slide." in text
    assert "labels on tissue 100 %" in text
    columns = [said for said, _ in page.tables["all-slides"][0]]
    cells = {row[0][0]: row[columns.index("labels from")][0] for row in page.tables["all-slides"][1:]}
    assert cells["s.scn"] == "the scanned bounds at (1000, 600)" and cells["t.tif"] == "level 0"
    assert "off_tissue: Only 0% of what is labelled" in " ".join(
        said for row in page.tables["quarantine"] for said, _ in row
    )


def test_overviews_of_older_builds_say_less_and_are_shown(tmp_path):
    """Those of commit 37b9573 do not say how the annotation was laid."""
    folder = tmp_path / "slides"
    write_scn_corpus(folder)
    todo = cutting.units(shards_config(store_px=32, max_quarantined=0.9), folder / "slides.csv")
    map_in_processes(todo, cutting.cut, tmp_path / "out", 1, describe=cutting.describe)
    cutting.write_manifest(todo[0].payload[0], folder / "slides.csv", todo, tmp_path / "out")
    for path in (tmp_path / "out/overview").glob("*.json"):
        facts = json.loads(path.read_text())
        facts.pop("annotation")
        for name in ("off_slide_share", "off_slide_regions", "labels_on_tissue"):
            facts["measures"].pop(name, None)
        path.write_text(json.dumps(facts))
    corpus = read_corpus(tmp_path / "out")
    assert all(view is not None and view.laid is None for view in corpus.overviews.values())
    assert "counted from" not in " ".join(Page(render(tmp_path / "out")).text)


def write_scn_corpus(folder: Path) -> None:
    """An SCN with bounds and a region on another plane, a plain TIFF, and one whose labels lie on glass."""
    folder.mkdir()
    write_scn(folder / "s.scn", tissue_slide(3, 1024), at=(1000, 600), glass=(3000, 2000))
    other = square_feature("DCIS", 600, 600, 700, 700)
    other["geometry"]["plane"] = {"c": -1, "z": 2, "t": 0}
    write_annotation(folder / "s.geojson", square_feature("Tumor", 300, 300, 500, 500), other)
    lines = [HEADER, "s.scn,P0,ER,Leica,DS1,train,s.geojson,,\n"]
    for number, (name, left) in enumerate((("t", 150), ("u", 5)), start=1):
        write_slide(folder / f"{name}.tif", tissue_slide(number))
        write_annotation(folder / f"{name}.geojson", square_feature("Tumor", left, 300, left + 90, 500))
        lines.append(f"{name}.tif,P{number},ER,Philips,DS1,train,{name}.geojson,,\n")
    (folder / "slides.csv").write_text("".join(lines))
