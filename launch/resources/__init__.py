"""What jobs ask of a cluster.

blocks         one block of resources for each kind of work      quantities  times, memory and GPUs as SLURM writes them
gpus           how many GPUs a job asks for, by whichever key    cluster_files  a site's settings by name
earlier_names  the names that resources had before
"""
