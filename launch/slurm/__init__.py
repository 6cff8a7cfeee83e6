"""What changes when SLURM does.

plan       compares the run folder with the queue and submits what is missing     submit    batch scripts and sbatch
job_plans  which jobs were submitted for which phases, RUN/plans/NNNN.json        queue     squeue, scancel, scontrol
run_jobs   which jobs in the queue belong to a run                                replan    planning again when something fails
nodes      nodes that cannot do what a job is for                                 as_job    the start itself as a job
"""
