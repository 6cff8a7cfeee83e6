"""The report: numbers beside the page are exact, the page stands alone, names cannot break it, no torch is needed."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import mlseg_dist.evaluation as evaluation
from mlseg_core.errors import UserError
from mlseg_core.files import read_json, write_json
from mlseg_dist import report
from mlseg_dist.config import CLASSES, CheckConfig, LearningConfig
from mlseg_dist.report.heatmap import round_length
from mlseg_dist.report.metrics import checks
from mlseg_dist.report.sources import read_sources
from mlseg_dist.report.table import print_table
from tests.mlseg_dist.tiny_run import TinyRun, tiny_run

CHECKS = {"last_over_base": {"val": -2.0, "test": -2.0}, "last_over_majority": {"dev-unseen": 0.999}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> TinyRun:
    """A run with random teachers, evaluated and reported."""
    run = tiny_run(tmp_path_factory.mktemp("report"), checks=CHECKS)
    write_styles(run.path / "data")
    evaluation.evaluate(run.config, run.path, run.path / "phases" / "09-evaluate")
    report.write(run.config, run.path, run.path / "phases" / "10-report")
    return run


def write_styles(data: Path) -> None:
    """Facts of two pairs, one of which kept too little, and a sheet of the other."""
    ssim = {"A -> <B>": {"mean": 0.987, "least": 0.911}, "<B> -> A": {"mean": 0.412, "least": 0.105}}
    write_json(data / "styled" / "manifest.json", {"facts": {"ssim": ssim, "left_out": ["<B> -> A"]}})
    records = {
        "A--B": {"source": "A", "target": "<B>", "steps": 20000},
        "B--A": {"source": "<B>", "target": "A", "steps": 20000},
    }
    write_json(data / "generators" / "generators.json", {"pairs": records})
    (data / "generators" / "A--B").mkdir()
    Image.new("RGB", (8, 8)).save(data / "generators" / "A--B" / "sheet.jpg")


def page(run: TinyRun) -> str:
    return (run.path / "report" / "index.html").read_text(encoding="utf-8")


def test_metrics_have_the_agreed_form_and_the_evaluated_numbers(finished):
    found = read_json(finished.path / "report" / "metrics.json")
    evaluated = read_json(finished.path / "phases" / "09-evaluate" / "evaluation.json")
    assert set(found) == {"steps", "test"}
    assert [step["step"] for step in found["steps"]] == ["base", "master-1"]
    for step, source in zip(found["steps"], evaluated["steps"], strict=True):
        assert set(step) == {"step", "val", "test", "dev-unseen"}
        for split in ("val", "test", "dev-unseen"):
            pooled = source["splits"][split]["pooled"]
            assert step[split] == {"miou": pooled["miou"], "iou": pooled["iou"]} and set(pooled["iou"]) == set(CLASSES)
    last = found["steps"][-1]
    assert set(found["test"]) == {"step", "seen", "dev-unseen", "majority"}
    assert found["test"]["seen"] == last["test"] and found["test"]["dev-unseen"] == last["dev-unseen"]
    assert found["test"]["majority"]["val"]["miou"] == evaluated["splits"]["val"]["majority"]["miou"]


def test_checks_compare_differences_with_margins(finished):
    found = read_json(finished.path / "report" / "checks.json")
    steps = read_json(finished.path / "report" / "metrics.json")["steps"]
    assert [row["passed"] for row in found["checks"]] == [True, True, False] and found["passed"] is False
    assert found["checks"][0]["got"] == pytest.approx(steps[1]["val"]["miou"] - steps[0]["val"]["miou"])


def test_a_check_passes_at_its_margin_and_fails_without_figures(finished):
    sources = read_sources(finished.config, finished.path)
    got = checks(CheckConfig(last_over_base={"val": 0.0}), sources)["checks"][0]["got"]
    assert checks(CheckConfig(last_over_base={"val": got}), sources)["passed"]
    assert not checks(CheckConfig(last_over_base={"val": got + 1e-9}), sources)["passed"]
    missing = checks(CheckConfig(base_over_majority={"final-unseen": -5.0}), sources)
    assert missing == {
        "passed": False,
        "checks": [
            {"check": "base_over_majority", "split": "final-unseen", "margin": -5.0, "got": None, "passed": False}
        ],
    }
    assert checks(CheckConfig(), sources) == {"passed": True, "checks": []}


class Outline(HTMLParser):
    """Collects what a browser would fetch or run, the open tags that never close, and the headings."""

    VOID = frozenset({"meta", "img", "br", "i"})

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.bad: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "srcset", "action")]
        self.bad += [name for name, _ in attributes if name.startswith("on")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def outline(text: str) -> Outline:
    parser = Outline()
    parser.feed(text)
    assert parser.open == []
    return parser


def test_the_page_is_well_formed_and_fetches_nothing(finished):
    parser = outline(page(finished))
    assert "script" not in parser.tags and "link" not in parser.tags and not parser.bad
    assert len(parser.links) > 10 and all(link.startswith("data:image/") for link in parser.links)
    assert "@import" not in page(finished) and "url(" not in page(finished)


def test_the_page_shows_every_part(finished):
    text = page(finished)
    headings = re.findall(r"<h2>(.*?)</h2>", text)
    assert headings == [
        "IoU per step and class",
        "Checks",
        "Training",
        "Confusion",
        "Examples",
        "IoU by stain, scanner and source",
        "One class against the rest",
        "Bad regions",
        "Labels accepted per round",
        "Views in other styles",
        "Where this comes from",
    ]
    assert "1 of 3 checks failed" in text
    assert "0.987" in text and "0.105" in text and text.count("left out: it keeps too little") == 1
    assert text.count("patches, styled, and the target") == 1, "a pair without a sheet has none to show"
    assert re.search(r'<td class="left">ER</td><td>0\.950</td>', text), "accepted of a stain's pixels"
    for step in read_json(finished.path / "report" / "metrics.json")["steps"]:
        for split in ("val", "test", "dev-unseen"):
            assert f"{step[split]['miou']:.3f}" in text
    assert read_json(finished.path / "phases" / "02-base" / "teacher.json")["sha256"] in text


def test_writing_twice_gives_the_same_bytes(finished):
    before = page(finished)
    report.write(finished.config, finished.path, finished.path / "phases" / "10-report")
    assert page(finished) == before


NASTY = "<script>alert('x')</script>&\"$\\frac"


def test_names_cannot_break_the_page(finished, tmp_path):
    """Slides, stains and the campaign carry markup, quotes and matplotlib's mathematics."""
    folder = tmp_path / "run" / "phases" / "09-evaluate"
    found = json.loads((finished.path / "phases" / "09-evaluate" / "evaluation.json").read_text())
    for slide in found["slides"].values():
        slide.update(slide=NASTY, stain=NASTY, scanner=NASTY, source=NASTY)
    for step in found["steps"]:
        for rows in step["groups"].values():
            rows[0]["value"] = NASTY
    write_json(folder / "evaluation.json", found)
    (folder / "pictures").symlink_to(finished.path / "phases" / "09-evaluate" / "pictures")
    (tmp_path / "run" / "campaign.yaml").write_text(f"name: {NASTY}\n")
    config = LearningConfig.model_validate({**finished.config.model_dump(), "name": NASTY.replace("/", "|")})
    report.write(config, tmp_path / "run", tmp_path / "run" / "phases" / "10-report")
    text = (tmp_path / "run" / "report" / "index.html").read_text(encoding="utf-8")
    assert "script" not in outline(text).tags and "&lt;script&gt;" in text


def test_half_a_campaign_gets_half_a_report(finished, tmp_path):
    phase = tmp_path / "phases" / "02-base"
    phase.mkdir(parents=True)
    whole = (finished.path / "phases" / "02-base" / "metrics.jsonl").read_text()
    (phase / "metrics.jsonl").write_text(whole + '{"kind": "train", "st')  # the writer was killed here
    report.write(finished.config, tmp_path, tmp_path / "phases" / "10-report")
    text = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    outline(text)
    assert "not evaluated yet" in text and "<h2>Training</h2>" in text and "<h2>Confusion</h2>" not in text
    assert read_json(tmp_path / "report" / "metrics.json") == {"steps": [], "test": {}}
    assert read_json(tmp_path / "report" / "checks.json")["passed"] is False


def test_one_step_alone_can_be_reported(finished, tmp_path):
    folder = tmp_path / "phases" / "09-evaluate"
    found = read_json(finished.path / "phases" / "09-evaluate" / "evaluation.json")
    found["steps"] = found["steps"][:1]
    write_json(folder / "evaluation.json", found)
    config = LearningConfig.model_validate({**finished.config.model_dump(), "steps": finished.config.steps[:1]})
    report.write(config, tmp_path, folder)
    outline((tmp_path / "report" / "index.html").read_text(encoding="utf-8"))


def test_the_table_fits_80_columns_and_ends_with_the_page(finished):
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_table(finished.path, console)
    lines = console.export_text().rstrip().splitlines()
    assert lines[-1] == f"report: {finished.path / 'report' / 'index.html'}"
    text = "\n".join(lines)
    table = [line for line in lines if not line.startswith(("passed", "FAILED", "report:"))]
    assert "…" not in text and all(len(line) <= 80 for line in table)
    steps = read_json(finished.path / "report" / "metrics.json")["steps"]
    rows = [re.split(r"\s{2,}", line.strip()) for line in lines]
    for split in ("val", "test", "dev-unseen"):
        expected = [f"{v:.3f}" for v in (steps[-1][split]["miou"], *steps[-1][split]["iou"].values())]
        assert ["master-1", *expected] in rows
        majority = next(row for row in rows if row[0] == split)
        assert majority[1].startswith("always ")
    assert (
        sum(line.startswith("passed") for line in lines) == 2 and sum(line.startswith("FAILED") for line in lines) == 1
    )


def test_the_table_of_an_unfinished_run_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match=r"metrics\.json"):
        print_table(tmp_path)


def test_report_and_table_load_no_torch():
    code = "import sys, mlseg_dist.report.page, mlseg_dist.report.table; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    code = "import sys, mlseg_dist.report.table; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("wanted", "length"), [(222.0, 200), (500.0, 500), (999.0, 500), (1000.0, 1000), (7.3, 5)])
def test_scale_bars_have_round_lengths(wanted, length):
    assert round_length(wanted) == pytest.approx(length)


def test_the_page_shows_the_baseline_that_was_measured(finished):
    found = read_json(finished.path / "phases" / "09-evaluate" / "evaluation.json")
    shown = f"always {found['majority']}"
    assert shown in page(finished)
    for facts in found["splits"].values():
        assert np.isclose(facts["majority"]["accuracy"], max(facts["majority"]["iou"].values()))


def test_nothing_machine_specific_is_on_the_page(finished):
    assert str(Path(finished.path)) not in page(finished)
