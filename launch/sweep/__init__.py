"""A sweep: one campaign many times, with other settings (arms) and seeds, and what came of it in one table.

config   the file that a person writes: hypothesis, budget, arms, seeds, comparisons
arms     the file -> one campaign config an arm and seed
adopt    phases that another run of the sweep has finished are taken over instead of being done again
rows     a finished run -> one small JSON row, which is all that comparisons need of it
compare  rows -> means, spreads, paired intervals over seeds and patients, verdicts
run      the loop: what has no row yet is run, here or on SLURM
"""
