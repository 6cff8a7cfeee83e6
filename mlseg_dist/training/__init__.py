"""One step of Table 8: a resumable job of DeepSpeed or DDP over shards.

loop         the training loop and its learning rate
session      what the loop needs: opened, resumed, asked between steps, closed
inputs       corpus, order and micro-batches of a step; sharing: how ranks share a step's samples
state/       what a resume restores
engine/      DeepSpeed or DDP behind one interface, and the process group
checkpoint/  written beside the next steps, verified when read
validate     scores on the validation split; validation_pairs: which pairs are scored
log          metrics.jsonl and log lines; window: the figures of some steps
health/      ranks that stand still or are slow
memory       micro-batches that do not fit; profiling: a trace of some steps
"""
