"""Parts of benchmarks/order.py.

corpus    a synthetic corpus with a round of labels: manifests, seeds; no tars
start     one rank's start in a process of its own, and where it resumes
locality  which shards simulated ranks read from, in our order and in a global shuffle
"""
