"""The bottom layer that launch, mlseg_dist and shards share; it imports no torch.

errors         what a user did wrong, what was interrupted, and the exit status of each
config         strict typed configs from YAML, with dotted overrides
files          hashes, atomic writes, first-wins publishing
randomness     random numbers as a pure function of (seed, names)
exactly_once/  one function over many units, each done once, on any number of workers
store/         where outputs go: a folder, or a bucket
node           the machine's name, its users and processes
progress       phase, units done, rate and ETA: on a terminal, in a log and in a file
"""
