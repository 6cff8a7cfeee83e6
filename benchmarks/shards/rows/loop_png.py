"""The plain loop with PNG at Pillow's defaults."""

from benchmarks.shards.rows.loop import loop
from benchmarks.shards.rows.row import run

if __name__ == "__main__":
    run(lambda row: loop(row, "png"))
