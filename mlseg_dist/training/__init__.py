"""One step of Table 8: a resumable job of DeepSpeed or DDP over shards."""
