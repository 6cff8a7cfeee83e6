"""The plain loop with JPEG of our quality, 4:4:4."""

from benchmarks.shards.rows.loop import loop
from benchmarks.shards.rows.row import run

if __name__ == "__main__":
    run(lambda row: loop(row, "jpg", quality=row.job["quality"], subsampling=0))
