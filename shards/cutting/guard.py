"""Before a build: what it would write over is ours, or it does not begin. A corpus may lie in a folder that holds other files.

Shards, overviews and seeds have names that carry a hash, and the first to publish such a name wins. The few files with plain names
are looked at here; the records of a map look after themselves (mlseg_core.exactly_once.records).
"""

from collections.abc import Callable
from pathlib import Path

from mlseg_core.errors import UserError
from mlseg_core.store import open_store
from shards.cutting.known_slides import KNOWN_SLIDES, is_known_slides
from shards.cutting.publish import QUARANTINE, QUARANTINE_HEAD
from shards.manifest import is_manifest

_OURS: dict[str, Callable[[bytes], bool]] = {
    "manifest.json": lambda data: is_manifest(data, "corpus"),
    KNOWN_SLIDES: is_known_slides,
    QUARANTINE: lambda data: data.startswith(",".join(QUARANTINE_HEAD).encode()),
}


def refuse_foreign_outputs(out: Path | str) -> None:
    """Raises UserError for a file of somebody else in the place of one that a build writes."""
    with open_store(out) as store:
        for name, is_ours in _OURS.items():
            try:
                data = store.read(name)
            except FileNotFoundError:
                continue
            except (IsADirectoryError, NotADirectoryError):
                data = b""
            if not is_ours(data):
                raise UserError(
                    "is not a file that mlseg wrote here, and would be overwritten",
                    f"{store.where}/{name}",
                    "Move it away, or choose another folder with --out.",
                )
