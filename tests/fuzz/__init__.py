"""Fuzzing of all files that are read: ours (shards, checkpoints, …) and other people's (slides, annotations, configs, tables).

mutations  what happens to a file's bytes, by seed      formats   what is read, how, and when other data is right
material   whole files of each format, made once        cases     one mutated file is read in a process of its own
__main__   `make fuzz N=3000`: the table
"""
