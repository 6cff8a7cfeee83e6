"""All that waits for a GPU: `make gpu` (python -m benchmarks.gpu). Results: benchmarks/results/gpu/*.md."""
