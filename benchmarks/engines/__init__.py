"""Training loops beside each other: rows (loops.py), and a rank that times them in turns (race.py)."""
