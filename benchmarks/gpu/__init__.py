"""Everything that waits for a GPU: `make gpu`. It runs other benchmarks and two of its own, first and input."""
