"""Which jobs, in which order, where; and the command line.

cli, commands/   `mlseg` and its groups
config           one campaign file: where slides come from, shards, steps, cluster
graph, kinds     phases, and what each kind of phase depends on, publishes and runs
paths            what relative paths in a campaign file start at
run_folder       where a campaign keeps its config, code, phases and plans; completion: when a phase is done
identity, owners a run's id and whose it is; guard: what is refused so that a campaign has one run and one owner
campaign         starting or continuing: makes or checks the run folder, then plans on SLURM or runs here
planner, plans   what is missing and why; which jobs were submitted for it; retry: a failed phase by a person's wish
slurm_plan       submits what is missing (slurm_submit), sees the queue (slurm_queue, pending); attend: from a login node
run_jobs         which jobs in the queue are a run's; gpus: how many a job asks for
local            the same graph on this machine; liveness, local_record: no two at once, no job without its planner
job              what runs inside a job: variables, rendezvous of ranks; nodes: unfit ones; error_words, statuses, causes: its end
verdict          of all that a phase's processes said, what explains best why it did not end well
status           where a campaign stands: phase_progress, phase_metrics; console: what is shown while it runs here
preflight/       what would fail later; rehearsal: every transition, before hundreds of GPU-hours queue
costs            wall time, GPU-hours and bytes of a plan, from amounts and rates; graph_picture: the plan as a picture
styling          how much gan_style makes
"""
