"""The page: every part is there, it fetches nothing but its own pictures, names cannot break it, the bytes repeat."""

import csv
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from mlseg_core.errors import UserError
from mlseg_core.files import read_json, write_json
from mlseg_dist import report
from mlseg_dist.config import CLASSES, LearningConfig
from mlseg_dist.report.slides import MOST_WORST
from mlseg_dist.report.words import share
from tests.mlseg_dist.report.campaign import STEPS, Reported, config_of, evaluation_of, made_run, without_drawings

CHECKS = {"last_over_base": {"val": -2.0, "test": -2.0}, "last_over_majority": {"dev-unseen": 0.999}}
MB = 2**20


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Reported:
    made = made_run(tmp_path_factory.mktemp("page"), checks=CHECKS)
    write(made)
    return made


def write(run: Reported, **options: bool) -> Path:
    return report.write(run.config, run.path, run.path / "phases" / "10-report", **options)


class Outline(HTMLParser):
    """Collects what a browser would fetch or run, open tags that never close, headings, ids, and images without words."""

    VOID = frozenset({"meta", "img", "br", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.levels: list[int] = []
        self.bad: list[str] = []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.add(tag)
        self.sources += [found[name] for name in ("src", "srcset", "action") if name in found]
        self.links += [found["href"]] if "href" in found else []
        self.ids += [found["id"]] if "id" in found else []
        self.bad += [name for name in found if name.startswith("on")]
        if tag == "img" and not found.get("alt"):
            self.bad.append("image without alt text")
        if re.fullmatch(r"h[1-6]", tag):
            self.levels.append(int(tag[1]))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def outline(text: str) -> Outline:
    parser = Outline()
    parser.feed(text)
    assert parser.open == [] and not parser.bad
    assert not parser.tags & {"script", "link", "iframe", "object"}
    return parser


def test_every_part_is_on_the_page_and_in_its_contents(run):
    headings = re.findall(r"<h2>(.*?)</h2>", run.page)
    assert headings == [
        *("Results", "Checks", "Domains", "Fine classes", "Bad regions", "Slides", "Calibration", "Boundaries"),
        *("One class against the rest", "Confusion", "Training", "Examples", "Labels accepted per round"),
        *("Views in other styles", "Where this comes from"),
    ]
    nav = run.page[run.page.index("<nav") : run.page.index("</nav>")]
    assert re.findall(r">([^<]+)</a></li>", nav) == headings
    found = outline(run.page)
    anchors = [link[1:] for link in found.links if link.startswith("#") and link not in ("#", "#contents")]
    assert len(anchors) == len(headings) and set(anchors) <= set(found.ids) and len(set(found.ids)) == len(found.ids)
    assert found.levels[0] == 1 and all(b - a <= 1 for a, b in zip(found.levels, found.levels[1:], strict=False))


def test_the_page_shows_the_figures_of_the_evaluation(run):
    found = read_json(run.evaluate / "evaluation.json")
    for split in found["splits"]:
        for step in STEPS:
            pooled = found["figures"][split][step]["pooled"]
            for value in (pooled["miou"]["value"], *(pooled["iou"][name]["value"] for name in CLASSES)):
                assert f">{share(value)}<" in run.page
    low, high = (found["figures"]["test"]["base"]["pooled"]["miou"][key] for key in ("low", "high"))
    assert f"[{share(low, 2)},\u00a0{share(high, 2)}]" in run.page
    dcis = found["fine"]["test"]["master-2"]["dcis"]["called"]
    assert f"{100 * dcis['tumour'] / sum(dcis.values()):.1f} %" in run.page, "how much DCIS was called tumour"
    assert "H&amp;E, Motic and DS7 are the same slides" in run.page
    assert "Confounded here: " in run.page and run.page.count('<span class="tag">unseen</span>') >= 3
    assert "1 of 3 checks failed" in run.page and "left out: it keeps too little" in run.page
    assert read_json(run.path / "phases" / "02-base" / "teacher.json")["sha256"] in run.page


def test_the_page_shows_how_right_the_labels_of_each_view_are(run):
    for view in ("high", "low"):
        row = rf"1 \(base\)</td><td[^>]*>{view}</td>(<td[^>]*>[^<]*</td>){{6}}</tr>"
        found = re.search(row, run.page)
        assert found and re.findall(r">([.\d–]+)</td>", found[0]) == [".912", "–", ".991"] * 2


def test_pictures_lie_beside_the_page_and_it_fetches_nothing_else(run):
    found = outline(run.page)
    beside = [source for source in found.sources if not source.startswith("data:image/svg+xml;base64,")]
    assert len(beside) == 10 and all(re.fullmatch(r"pictures/[a-z0-9-]+-[0-9a-f]{12}\.jpg", one) for one in beside)
    folder = run.path / "report" / "pictures"
    assert {Path(one).name for one in beside} == {path.name for path in folder.iterdir()}
    assert not Image.open(next(folder.iterdir())).getexif()
    assert sorted(link for link in found.links if not link.startswith("#")) == sorted([*beside, "slides.csv"])
    assert "@import" not in run.page and "url(" not in run.page


def test_names_of_slides_and_patients_stay_in_the_run(run):
    found = read_json(run.evaluate / "evaluation.json")
    table = (run.path / "report" / "slides.csv").read_text()
    for slug, facts in found["slides"].items():
        for text in (run.page, table):
            assert slug not in text and facts["patient"] not in text
    assert str(run.path) not in run.page
    rows = list(csv.DictReader(table.splitlines()))
    assert len(rows) == len(found["slides"]) and all(row["slide"].startswith("slide-") for row in rows)
    names = run.sources().redaction.names
    slug = next(iter(found["slides"]))
    row = next(row for row in rows if row["slide"] == names.slide(slug))
    assert float(row["base mIoU"]) == pytest.approx(found["slides"][slug]["figures"]["base"]["miou"], abs=1e-6)


def test_writing_twice_gives_the_same_bytes_and_keeps_what_is_not_ours(run):
    folder = run.path / "report"
    before = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    old = folder / "pictures" / "old-e3b0c44298fc.jpg"  # an empty file's sha256: ours, from an earlier page
    old.touch()
    (folder / "pictures" / "mine-000000000000.jpg").write_text("mine")
    write(run)
    assert not old.exists() and (folder / "pictures" / "mine-000000000000.jpg").read_text() == "mine"
    (folder / "pictures" / "mine-000000000000.jpg").unlink()
    assert {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()} == before


def test_one_file_on_request_holds_everything(tmp_path):
    run = made_run(tmp_path, is_bare=True)
    page = write(run, single_file=True)
    found = outline(page.read_text(encoding="utf-8"))
    assert all(source.startswith("data:image/") for source in found.sources)
    assert all(link.startswith("#") for link in found.links)
    assert sum(source.startswith("data:image/jpeg") for source in found.sources) == 9
    names = {path.name for path in page.parent.iterdir()}
    assert page.name == "report.html" and names == {"report.html", "metrics.json", "checks.json", "slides.csv"}


NASTY = "<script>alert('x')</script>&\"$\\frac`=1"


def test_names_cannot_break_the_page_nor_the_table(run, tmp_path):
    """Slides, patients, stains, reasons and the campaign carry markup, quotes, formulas and matplotlib's mathematics."""
    found = without_drawings(read_json(run.evaluate / "evaluation.json"))
    for facts in found["slides"].values():
        facts.update(slide=NASTY, stain=f"={NASTY}", scanner=NASTY, source=NASTY, patient=NASTY)
    for rows in found["domains"].values():
        rows[0]["value"] = NASTY
    found["not_scored"] = [{"slide": NASTY, "split": "test", "step": "base", "why": NASTY}]
    for split in found["fine"].values():
        for step in split.values():
            step[NASTY] = step.pop("fold")
    found["against"] = {"name": NASTY, "steps": {}, "differences": {"test": found["differences"]["test"]}}
    config = LearningConfig.model_validate({**run.config.model_dump(), "name": NASTY.replace("/", "|")})
    other = Reported(tmp_path / "run", config)
    for folder in (other.evaluate, other.path / "evaluations" / "<b>"):
        write_json(folder / "evaluation.json", found)
    (other.path / "campaign.yaml").write_text(f"name: {NASTY!r}\n")
    write(other)
    assert "<h3>Against &lt;script&gt;" in other.page and "<small>master-1 of &lt;script&gt;" in other.page
    outline(other.page)
    rows = list(csv.reader((other.path / "report" / "slides.csv").read_text().splitlines()))
    assert {len(row) for row in rows} == {len(rows[0])} and all(row[3].startswith("'=") for row in rows[1:])


def test_two_thousand_slides_make_a_small_page(tmp_path):
    config = config_of(("base", "master-1"))
    few = evaluation_of(config, {"test": 6, "val": 5})
    slug, facts = next((slug, facts) for slug, facts in few["slides"].items() if facts["split"] == "test")
    many = {f"{slug}-{n:04d}": {**facts, "figures": _moved(facts["figures"], n)} for n in range(2000)}
    row = few["differences"]["test"][0]
    few["slides"] |= many
    row["worse"], row["better"] = list(many)[:900], list(many)[900:]
    few["not_scored"] = [
        {"slide": one, "split": "test", "step": "base", "why": "no number"} for one in list(many)[:500]
    ]
    some = few["domains"]["master-1"][0]
    for step in few["domains"]:
        few["domains"][step] = [{**some, "factor": "source", "value": f"lab {n}"} for n in range(300)]
    run = made_run(tmp_path, few)
    write(run)
    assert len(run.page.encode()) < 3 * MB
    assert len((run.path / "report" / "slides.csv").read_text().splitlines()) == 2000 + 22 + 1
    worst = re.search(r"Slides with the lowest and highest IoU.*?</table>", run.page, re.S)
    assert worst and worst[0].count("<tr>") == MOST_WORST + 5 + 2
    assert (
        "Of 300 sources only the 15 with the lowest IoU are shown" in run.page
        and "500 slides could not be scored" in run.page
    )


def _moved(figures: dict, number: int) -> dict:
    return {step: {**one, "miou": 0.2 + 0.6 * number / 2000} for step, one in figures.items()}


def test_half_a_campaign_gets_half_a_report(run, tmp_path):
    half = Reported(tmp_path / "run", run.config)
    phase = half.path / "phases" / "02-base"
    phase.mkdir(parents=True)
    whole = (run.path / "phases" / "02-base" / "metrics.jsonl").read_text()
    (phase / "metrics.jsonl").write_text(whole + '{"kind": "train", "st')  # the writer was killed here
    write(half)
    outline(half.page)
    assert (
        "not evaluated yet" in half.page and "<h2>Training</h2>" in half.page and "<h2>Confusion</h2>" not in half.page
    )
    assert read_json(half.path / "report" / "metrics.json") == {"steps": [], "test": {}, "labels": [], "gain": ""}
    assert read_json(half.path / "report" / "checks.json")["passed"] is False
    assert not (half.path / "report" / "slides.csv").exists() and not (half.path / "report" / "pictures").exists()


def test_only_some_steps_were_evaluated_and_figures_are_missing(run, tmp_path):
    """Nothing is sure to be there but the keys at the top."""
    found = evaluation_of(config_of(("base", "master-1")), {"test": 6})
    for key in (
        "fine",
        "bad_regions",
        "calibration",
        "curves",
        "domains",
        "slides",
        "patients",
        "differences",
        "cross_fit",
    ):
        found[key] = {}
    found["figures"] = {"test": {"base": {"pooled": {}, "per_slide": {}, "per_patient": {}}}}
    found["confounded"] = []
    bare = Reported(tmp_path / "a" / "run", run.config)
    write_json(bare.evaluate / "evaluation.json", found)
    from mlseg_dist.report.page import render
    from mlseg_dist.report.pictures import Pictures

    outline(render(bare.sources(), {"passed": True, "checks": []}, Pictures(inside=False)))
    one = evaluation_of(config_of(("base",)), {"test": 1}, slides_each=1)
    single = made_run(tmp_path / "b", without_drawings(one))
    write(single)
    outline(single.page)


def test_figures_of_an_earlier_version_are_not_shown(run, tmp_path):
    old = Reported(tmp_path / "run", run.config)
    write_json(old.evaluate / "evaluation.json", {"version": 1, "steps": [{"step": "base"}], "splits": {"test": {}}})
    kept = {"steps": [{"step": "base", "test": {"miou": 0.9, "iou": dict.fromkeys(CLASSES, 0.9)}}], "test": {}}
    write_json(old.path / "report" / "metrics.json", kept)
    write_json(old.path / "report" / "checks.json", {"passed": True, "checks": []})
    write(old)
    outline(old.page)
    assert "earlier version" in old.page and "<code>mlseg evaluate</code>" in old.page and ".900" not in old.page
    assert read_json(old.path / "report" / "metrics.json") == kept, "what that version wrote stays"
    fresh = old.path / "evaluations" / "val+test+dev-unseen" / "evaluation.json"
    write_json(fresh, without_drawings(evaluation_of(run.config, {"val": 4, "test": 6, "dev-unseen": 6})))
    threshold = without_drawings(evaluation_of(run.config, {"test": 6}))
    for teacher in threshold["teachers"].values():
        teacher["source"] = "command line"
    write_json(
        fresh.parents[1] / "test-at-0.6" / "evaluation.json",
        {**threshold, "splits": {name: {} for name in ("a", "b", "c")}},
    )
    write(old)
    assert "earlier version" not in old.page and "<h2>Results</h2>" in old.page, "what evaluate wrote by hand is taken"
    assert "<h2>Evaluations by hand</h2>" in old.page and read_json(old.path / "report" / "metrics.json") != kept


@pytest.mark.parametrize("found", [[], {"version": "2"}, {"version": 3}])
def test_an_evaluation_that_cannot_be_read_is_one_line(run, tmp_path, found):
    other = Reported(tmp_path / "run", run.config)
    write_json(other.evaluate / "evaluation.json", found)
    with pytest.raises(UserError, match=r"evaluation\.json"):
        write(other)
    assert not (other.path / "report").exists()


def test_openings_of_final_unseen_are_printed(run, tmp_path, monkeypatch):
    from mlseg_core.files import sha256_file
    from mlseg_dist.evaluation import ledger

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    other = Reported(tmp_path / "run", run.config)
    manifest = other.path / "data" / "shards" / "manifest.json"
    totals = {"shards": 0, "samples": 0, "bytes": 0}
    empty = {
        "kind": "corpus",
        "fingerprint": "0",
        "members": [],
        "classes": [],
        "views": {},
        "shards": [],
        "totals": totals,
    }
    write_json(manifest, empty)
    first = ledger.open_split(other.path, sha256_file(manifest), "a", {"base": "0"}, "mlseg evaluate")
    ledger.finish(other.path, first)
    ledger.open_split(
        other.path, sha256_file(manifest), "b", {"base": "1"}, "mlseg evaluate", again="a typo in <the> table"
    )
    write(other)
    assert (
        "<h2>Openings of final-unseen</h2>" in other.page and "a typo in &lt;the&gt; table (not finished)" in other.page
    )


def test_report_and_table_load_no_torch():
    lines = [
        "import sys, mlseg_dist.report.table",
        "assert 'matplotlib' not in sys.modules, 'the table is quick'",
        "import mlseg_dist.report.page",
        "assert 'torch' not in sys.modules",
    ]
    assert subprocess.run([sys.executable, "-c", "\n".join(lines)], check=False).returncode == 0


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs a browser")
def test_nothing_runs_over_the_edge_of_a_phone(run, tmp_path):
    """At 400 px the page itself does not scroll sideways; with all folds open."""
    page = tmp_path / "page.html"
    page.write_text(run.page.replace("<details>", "<details open>"), encoding="utf-8")
    frame = f'<iframe id=f src="{page.as_uri()}" style="width:400px;height:900px;border:0"></iframe><p id=o></p>'
    code = "f.onload = () => { o.textContent = 'width ' + f.contentDocument.documentElement.scrollWidth }"
    (tmp_path / "frame.html").write_text(f"<!doctype html>{frame}<script>{code}</script>")
    words = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom"]
    words += [
        f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=3000",
        (tmp_path / "frame.html").as_uri(),
    ]
    found = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    width = re.search(r"width (\d+)", found)
    assert width and int(width[1]) <= 400
