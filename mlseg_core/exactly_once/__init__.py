"""One function over many units, each done exactly once, on any number of workers.

run          run_units, map_in_processes, merge
worker       one worker's part: does units, publishes their files, records them
stealing     which unit is next: the worker's own slice, then what is left of the others'
unit_status  which units are done, whoever did them; marks, by which workers tell each other
records      what stays in the store: done, failed
failures     whose fault a failure is: the unit's or the node's
processes    processes of this machine that do one job together
"""
