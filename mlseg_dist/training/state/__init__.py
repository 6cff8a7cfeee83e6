"""All of a phase's training that changes from step to step: what a checkpoint holds and a resume restores.

training_state  takes and restores checkpoints, the same one on every rank
skips           steps whose gradient is not finite
exclusions      pairs that cannot be read
teacher         the weights with the best validation so far
average         exponential moving average of the parameters
batchnorm       running statistics that do not depend on the number of ranks
"""
