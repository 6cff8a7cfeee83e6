"""Ours: one worker's part of `mlseg shards build`, all that a user gets but the manifest, which comes at the end.

Audit, tars with both views and both labels, index, overview; crc32c and sha256; synced to disk.
"""

from benchmarks.shards.rows.job import load
from benchmarks.shards.rows.row import Row, run
from mlseg_core.exactly_once.run import run_units
from shards import cutting


def work(row: Row) -> dict[str, float]:
    """Raises RuntimeError when a slide fails."""
    config, table = load(row.job)
    failed = run_units(
        cutting.units(config, table),
        cutting.cut,
        row.out,
        describe=cutting.describe,
        worker=row.worker,
        workers=row.workers,
    )
    if failed:
        raise RuntimeError(f"{failed[0].unit}: {failed[0].reason}")
    return {}


if __name__ == "__main__":
    run(work)
