"""One function over many units, exactly once, on any number of workers.

run        run_units, map_in_processes, merge
worker     one worker's part: its own slice, then what is left of the others'
records    what it leaves behind: done, failed
marks      what workers tell each other of what they have done
failures   whose fault a failure is: the unit's or the node's
processes  processes of this machine that do one job together
"""
