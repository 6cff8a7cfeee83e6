"""Which jobs, in which order, where; and the command line.

cli, commands/   `mlseg` and its groups of commands
config           one campaign file: where slides come from, shards, steps, cluster; paths: what its relative paths start at
resources/       what each kind of work asks of a cluster
graph, phases/   the phases of a campaign, and what each kind of phase depends on, publishes and runs
run_folder/      where a campaign keeps its config, code, phases and plans, and which run that is
completion       when a phase is done
campaign         starts, continues or retries a campaign, then plans on SLURM or runs here; checks: whether it can be trained
guard            what is refused so that a campaign has one run and one owner
planner          what is missing and why, and what explains best why a phase did not end well
slurm/           submits what is missing, and asks the queue; all that changes when SLURM does
local/           the same graph on this machine
job              what runs inside a job; environment: its variables; endings: how it ends
slurm_plan       the entry point of the job that plans again
status           where a campaign stands; phase_progress: how far a running phase is
estimate/        wall time, GPU-hours and bytes of a plan; graph_picture: the plan as a picture
preflight/       what would fail later; rehearsal: every transition, before hundreds of GPU-hours queue
sweep/           one campaign with many settings and seeds
"""
