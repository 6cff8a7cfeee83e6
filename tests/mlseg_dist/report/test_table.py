"""The table at the end of a campaign: 80 columns, intervals, checks, the page; earlier figures are named so."""

import re

import pytest
from rich.console import Console

from mlseg_core.errors import UserError
from mlseg_core.files import read_json, write_json
from mlseg_dist.config import CheckConfig
from mlseg_dist.report.heatmap import round_length
from mlseg_dist.report.metrics import checks, metrics
from mlseg_dist.report.table import print_table
from mlseg_dist.report.words import share
from tests.mlseg_dist.report.campaign import Reported, made_run, with_control

GAIN = "Over the same steps on people’s labels alone, the rounds of labels changed mean IoU by +.05 on the test slides."
CHECKS = {"last_over_base": {"val": -2.0, "test": -2.0}, "last_over_majority": {"dev-unseen": 0.999}}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Reported:
    made = made_run(tmp_path_factory.mktemp("table"), checks=CHECKS)
    found = made.sources().evaluation
    write_json(made.path / "report" / "metrics.json", metrics(found, made.sources().rounds, GAIN))
    write_json(made.path / "report" / "checks.json", checks(made.config.checks, found))
    return made


def printed(run) -> list[str]:
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_table(run, console)
    return console.export_text().rstrip().splitlines()


def test_it_fits_80_columns_and_ends_with_the_page(run):
    lines = printed(run.path)
    assert lines[-1] == f"report: {run.path / 'report' / 'index.html'}"
    assert "…" not in "".join(lines) and all(len(line.rstrip()) <= 80 for line in lines[:-1])
    steps = read_json(run.path / "report" / "metrics.json")["steps"]
    rows = [re.split(r"\s{2,}", line.strip()) for line in lines]
    for split in ("test", "dev-unseen"):
        found = steps[-1][split]
        interval = f"[{share(found['low'], 2)},\u00a0{share(found['high'], 2)}]"
        each = [share(found["iou"][name]) for name in ("tumour", "others", "background")]
        assert ["master-2", share(found["miou"]), interval, *each] in rows
    assert [row[0] for row in rows if row[0] in steps[0]] == ["test", "dev-unseen", "val"]
    assert ["4 patients", "base"] in [row[:2] for row in rows] and any(
        "from five patients on" in line for line in lines
    )
    assert (
        sum(line.startswith("passed") for line in lines) == 2 and sum(line.startswith("FAILED") for line in lines) == 1
    )


def test_it_says_how_right_the_labels_are_and_what_they_gave(run):
    lines = printed(run.path)
    rows = [re.split(r"\s{2,}", line.strip()) for line in lines]
    assert ["labels right", "teacher", "view", "tumour", "others", "background"] in rows
    assert ["round 1", "base", "high", ".912", "–", ".991"] in rows and ["low", ".912", "–", ".991"] in rows
    assert GAIN in re.sub(r"\s+", " ", " ".join(lines))


def test_controls_stand_below_the_steps_and_no_figure_is_cut_off(tmp_path):
    order = ("base", "human-only-master-1", "master-1", "human-only-master-2", "master-2")
    _, found = with_control(order)
    write_json(tmp_path / "report" / "metrics.json", metrics(found))
    write_json(tmp_path / "report" / "checks.json", {"passed": True, "checks": []})
    lines = printed(tmp_path)
    assert all(len(line.rstrip()) <= 80 for line in lines[:-1]) and "…" not in "".join(lines[:-1])
    rows = [re.split(r"\s{2,}", line.strip()) for line in lines]
    controls = {control["of"]: control for control in metrics(found)["controls"]}
    assert ["human-only", share(controls["master-2"]["test"]["miou"])] in [row[:2] for row in rows]
    assert ["(master-1)"] in rows, "which step's control it is, on a line of its own"


def test_figures_of_an_earlier_version_are_named_so(run, tmp_path):
    found = read_json(run.path / "report" / "metrics.json")
    for step in found["steps"]:
        for one in step.values():
            if isinstance(one, dict):
                for key in ("low", "high", "patients"):
                    del one[key]
    write_json(tmp_path / "report" / "metrics.json", found)
    write_json(tmp_path / "report" / "checks.json", {"passed": True, "checks": []})
    lines = printed(tmp_path)
    assert "earlier version" in " ".join(lines) and "95 %" not in " ".join(lines)


def test_an_unfinished_run_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match=r"metrics\.json"):
        print_table(tmp_path)


def test_a_check_passes_at_its_margin_and_fails_without_figures(run):
    found = run.sources().evaluation
    got = checks(CheckConfig(last_over_base={"val": 0.0}), found)["checks"][0]["got"]
    assert checks(CheckConfig(last_over_base={"val": got}), found)["passed"]
    assert not checks(CheckConfig(last_over_base={"val": got + 1e-9}), found)["passed"]
    missing = checks(CheckConfig(base_over_majority={"final-unseen": -5.0}), found)
    row = {"check": "base_over_majority", "split": "final-unseen", "margin": -5.0, "got": None, "passed": False}
    assert missing == {"passed": False, "checks": [row]}
    assert checks(CheckConfig(), found) == {"passed": True, "checks": []}


@pytest.mark.parametrize(("wanted", "length"), [(222.0, 200), (500.0, 500), (999.0, 500), (1000.0, 1000), (7.3, 5)])
def test_scale_bars_have_round_lengths(wanted, length):
    assert round_length(wanted) == pytest.approx(length)
