"""One step of Table 8: a resumable DeepSpeed job over shards."""
