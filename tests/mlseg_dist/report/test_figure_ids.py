"""Every result that the paper shows has its figure on the page of a finished campaign, under an id that leads to it."""

import json
import re

import pytest

from mlseg_core.exactly_once.run import run_units
from mlseg_dist.config import FACTORS
from mlseg_dist.evaluation import campaign, work
from mlseg_dist.report import write
from mlseg_dist.report.figure_ids import FIGURES, PREFIX, figure_id
from tests.mlseg_dist.evaluation.subjects import subject_of
from tests.mlseg_dist.tiny_run import paint_slides, tiny_run

ASKED = {
    "Curves of categorical accuracy, mean IoU, weighted CE and Dice": ("accuracy", "miou", "wce", "wdl"),
    "One class against the rest, for Tumour and Others": (
        *(f"{key}-{name}" for name in ("tumour", "others") for key in ("precision-recall", "roc", "thresholds")),
    ),
    "IoU by stain, by source, by scanner": tuple(f"iou-by-{factor}" for factor in FACTORS),
    "Heat maps per tissue": ("heat-maps",),
    "Class histogram per split": ("class-mix",),
    "Score histogram per stain and scanner": ("scores",),
    "UMAP of deep features by stain/source/scanner": tuple(f"features-{factor}" for factor in FACTORS),
    "Hue-saturation spread before/after augmentation": ("hue-saturation",),
    "Augmentation gallery": ("augmentations",),
    "Final threshold, swept on validation only": ("operating-points",),
    "Tables 4 and 5": ("slides-by-group", "pairs-by-class"),
    "Bad regions get their own recall figure": ("bad-regions",),
    "Pooled and per-slide figures, named": ("pooled", "per-slide"),
    "The gain of the rounds": ("ladder", "differences"),
}
"""What the paper shows -> the figures that show it."""


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    """From slides with scores to the page, all by the real code; training alone is made up."""
    folder = tmp_path_factory.mktemp("figures")
    table = paint_slides(folder / "slides")
    head, *rows = table.read_text().splitlines()
    table.write_text("\n".join([f"{head},score", *(f"{row},{number}" for number, row in enumerate(rows))]) + "\n")
    run = tiny_run(folder, table)
    subject = subject_of(run)
    todo, opening = campaign.begin(subject)
    assert not run_units(todo, work.count, folder / "counts", describe=work.describe)
    campaign.publish(
        subject, todo, folder / "counts", run.path / "phases" / "09-evaluate", opening, lambda *_, **__: None
    )
    return write(run.config, run.path, run.path / "phases" / "10-report").read_text(encoding="utf-8")


def test_what_is_asked_for_is_what_is_listed():
    assert {name for names in ASKED.values() for name in names} == set(FIGURES)
    with pytest.raises(KeyError):
        figure_id("nothing")


@pytest.mark.parametrize("what", ASKED)
def test_every_result_has_its_figure(page, what):
    for name in ASKED[what]:
        assert page.count(f'id="{PREFIX}{name}"') == 1, name


def test_no_id_is_there_twice_and_none_is_unknown(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert {one.removeprefix(PREFIX) for one in ids if one.startswith(PREFIX)} == set(FIGURES)


def test_the_page_says_how_features_were_laid_out_and_names_no_slide(page):
    assert "by PCA, as umap-learn was not installed" in page or "by UMAP of the package umap-learn" in page
    assert "TCGA-00-AAAA" not in page


def test_a_run_that_was_evaluated_earlier_has_a_page_without_these(tmp_path):
    from tests.mlseg_dist.report.campaign import made_run

    run = made_run(tmp_path, is_bare=True)
    text = write(run.config, run.path, run.path / "phases" / "10-report").read_text(encoding="utf-8")
    for name in ("heat-maps", "features-stain", "class-mix", "hue-saturation"):
        assert f"{PREFIX}{name}" not in text
    assert json.loads((run.path / "report" / "checks.json").read_text())["passed"]
