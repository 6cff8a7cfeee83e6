"""The page that people read and the numbers beside it. In: the JSON and PNG files of a run. Out: RUN/report. No torch."""

from pathlib import Path

from mlseg_core.files import read_json, write_atomic, write_json
from mlseg_core.own import is_page, refuse_foreign
from mlseg_dist.config import LearningConfig
from mlseg_dist.report.metrics import checks, metrics
from mlseg_dist.report.sources import read_sources

__all__ = ["write"]


def write(config: LearningConfig, run: Path, phase: Path) -> None:
    """Write RUN/report: metrics.json, checks.json, then index.html. A campaign that is half done gets half a report.

    phase: the report phase's own folder; nothing is kept there. Raises UserError for a damaged file of the run, and for files of
    somebody else that would be overwritten.
    """
    from mlseg_dist.report.page import render  # matplotlib loads slowly, and the table does not need it

    report = run / "report"
    refuse_foreign([report / "index.html"], lambda path: is_page(path, "report"))
    for name, keys in (("metrics.json", {"steps", "test"}), ("checks.json", {"passed", "checks"})):
        refuse_foreign([report / name], lambda path, keys=keys: _has(path, keys))  # type: ignore[misc]
    sources = read_sources(config, run)
    found = checks(config.checks, sources.evaluation)
    write_json(report / "metrics.json", metrics(sources.evaluation))
    write_json(report / "checks.json", found)
    write_atomic(report / "index.html", render(sources, found))


def _has(path: Path, keys: set[str]) -> bool:
    found = read_json(path)
    return isinstance(found, dict) and found.keys() >= keys
