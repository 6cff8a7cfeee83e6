"""The page that people read and the numbers beside it. In: the JSON and PNG files of a run. Out: RUN/report. No torch."""

from pathlib import Path

from mlseg_core.files import write_atomic, write_json
from mlseg_dist.config import LearningConfig
from mlseg_dist.report.metrics import checks, metrics
from mlseg_dist.report.sources import read_sources

__all__ = ["write"]


def write(config: LearningConfig, run: Path, phase: Path) -> None:
    """Write RUN/report: metrics.json, checks.json, then index.html. A campaign that is half done gets half a report.

    phase: the report phase's own folder; nothing is kept there. Raises UserError for a damaged file of the run.
    """
    from mlseg_dist.report.page import render  # matplotlib loads slowly, and the table does not need it

    sources = read_sources(config, run)
    found = checks(config.checks, sources)
    report = run / "report"
    write_json(report / "metrics.json", metrics(sources))
    write_json(report / "checks.json", found)
    write_atomic(report / "index.html", render(sources, found))
