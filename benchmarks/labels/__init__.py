"""Parts of benchmarks.label: the corpus and teacher of a row, the serial way, the page."""
