"""The bottom layer that launch, mlseg_dist and shards share; it imports no torch.

errors       what a user did wrong, what was interrupted, and the exit status of each
config       strict typed configs from YAML, with dotted overrides
files        hashes, atomic writes, first-wins publishing
randomness   random numbers as a pure function of (seed, names)
map          one function over many units, exactly once, on any number of workers; map_worker: one worker's part
records      what a map leaves behind: done, failed; marks: what workers tell each other; failures: whose fault one is
store/       where outputs go: a folder, or a bucket
workers      processes of this machine that do one job together; node: its name
progress     phase, units done, rate and ETA: on a terminal, in a log and in a file
"""
