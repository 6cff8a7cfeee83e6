"""One way to cut pairs each: ours, the floor, plain loops, peers. Each runs as a process of its own, see row.py."""
