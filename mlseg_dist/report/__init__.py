"""The page that people read and the numbers beside it. In: the JSON and picture files of a run. Out: RUN/report. No torch."""

from pathlib import Path

from mlseg_core.errors import UserError
from mlseg_core.files import read_json, write_atomic, write_json
from mlseg_core.own import is_page, refuse_foreign, starts_with
from mlseg_dist.config import LearningConfig
from mlseg_dist.report.metrics import checks, metrics
from mlseg_dist.report.sources import Sources, read_sources
from mlseg_dist.report.verdict import gain_in_words

__all__ = ["PAGE", "SINGLE_FILE", "write"]

PAGE, SINGLE_FILE = "index.html", "report.html"


def write(config: LearningConfig, run: Path, phase: Path, *, single_file: bool = False) -> Path:
    """Write RUN/report: metrics.json, checks.json, slides.csv, pictures, then the page. Returns the page's path.

    A campaign that is half done gets half a report. single_file: report.html, which contains its pictures, in place of index.html
    and the folder `pictures`. phase: the report phase's own folder; nothing is kept there. Raises UserError for a damaged file of
    the run, and for files of somebody else that would be overwritten.
    """
    from mlseg_dist.report import (
        pictures as files,
    )  # matplotlib and Pillow load slowly, and the table does not need them
    from mlseg_dist.report.page import render
    from mlseg_dist.report.slides import TABLE, slides_csv

    report = run / "report"
    page = report / (SINGLE_FILE if single_file else PAGE)
    _refuse_foreign(report, page)
    sources = read_sources(config, run)
    found = checks(config.checks, sources.evaluation)
    pictures = files.Pictures(inside=single_file)
    text = render(sources, found, pictures)
    files.refuse_foreign_pictures(report / files.FOLDER, pictures.files)
    _write_numbers(report, sources, found)
    if sources.block("slides"):
        write_atomic(report / TABLE, slides_csv(sources))
    files.write_pictures(report / files.FOLDER, pictures.files)
    write_atomic(page, text)
    if not single_file:
        files.remove_old_pictures(report / files.FOLDER, pictures.files)
    return page


def _write_numbers(report: Path, sources: Sources, found: dict) -> None:
    """metrics.json and checks.json; where there are only figures of an earlier version, those that it wrote stay."""
    if sources.is_earlier and (report / "metrics.json").exists() and (report / "checks.json").exists():
        return
    write_json(report / "metrics.json", metrics(sources.evaluation, sources.rounds, gain_in_words(sources)))
    write_json(report / "checks.json", found)


def _refuse_foreign(report: Path, page: Path) -> None:
    from mlseg_dist.report.slides import HEAD, TABLE

    refuse_foreign([page], lambda path: is_page(path, "report"))
    refuse_foreign([report / TABLE], lambda path: starts_with(path, ",".join(HEAD).encode()))
    for name, keys in (("metrics.json", {"steps", "test"}), ("checks.json", {"passed", "checks"})):
        refuse_foreign([report / name], lambda path, keys=keys: _has(path, keys))  # type: ignore[misc]


def _has(path: Path, keys: set[str]) -> bool:
    try:
        found = read_json(path)
    except UserError:
        return False
    return isinstance(found, dict) and found.keys() >= keys
