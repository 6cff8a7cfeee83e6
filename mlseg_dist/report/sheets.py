"""Contact sheets that the report must not show: earlier versions drew the slides' names into their pixels."""

from pathlib import Path

from mlseg_dist.pseudonyms import shows_pseudonyms
from mlseg_dist.report.html import Html, text


def instead_of_sheet(path: Path, round_number: int) -> Html | None:
    """The sentence that takes its place. None for a sheet that may be shown, and where there is none."""
    if not path.is_file() or shows_pseudonyms(path.read_bytes()):
        return None
    where = f"data/{path.parent.name}/{path.name}"
    return Html(
        f"<p>The contact sheet of round {round_number} has the names of slides in its captions, because an earlier version "
        f"drew it. It stays in the run folder: {text(where)}.</p>"
    )
