"""The same graph on this machine.

run       phase after phase, with live progress            liveness  no two planners at once, no job without its planner
record    RUN/planner.json, for other users and machines   console   what the terminal shows
"""
