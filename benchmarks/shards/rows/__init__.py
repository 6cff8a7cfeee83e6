"""One way to cut pairs each: ours, the floor, plain loops, a peer. Each runs in processes of its own, see row.py."""
