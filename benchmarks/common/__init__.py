"""What several benchmarks share. Nothing here imports a benchmark.

processes     the repository's root, rows as processes of their own, the machine that they run on; standard library only
policies      the policies of Table 8
photo_corpus  shards of pairs cut from a photograph of stained tissue
bare_corpus   a corpus of any size without tars: manifests, seeds, a round of labels
rank_start    one rank's start on such a corpus, timed in a process of its own
feed          stored pairs, and the host's share of augmenting them with DALI
real_slides   pictures of a folder of real slides
"""
