"""Benchmarks, one folder each with a command: `python -m benchmarks.NAME`. See README.md."""
