"""`mlseg predict --cluster`: the slides of one command as an array of jobs on SLURM.

What was asked for lies in OUT/cluster/HASH, which serves as a run folder: frozen code, plans, logs, nodes to avoid.
The array's processes are workers of the same exactly-once map that `mlseg predict` runs here, into the same OUT: either continues
what the other began.

request  what was asked for, request.json         check   whether SLURM would take the jobs, before anything is queued
jobs     what runs inside a job                   queue   submits the array and the job that ends it; plans again what died
attend   waits for the jobs and tells how they stand
"""
