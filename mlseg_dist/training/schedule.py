"""Learning rate: the paper's "stepwise cyclic" rate with a decreasing jump, a pure function of the step."""

STAIRS = 5  # plateaus of a cycle
LOWEST = 0.1  # last plateau of a cycle, as a part of its first


def learning_rate(step: int, total: int, lr0: float, cycles: int, warmup: int) -> float:
    """Rate of optimizer step `step` of `total`: cycle c starts at lr0 / 2^c and descends in stairs; linear warm-up first."""
    cycle, within = divmod(step * cycles / total, 1.0)
    stair = min(int(within * STAIRS), STAIRS - 1) / (STAIRS - 1)
    rate = lr0 * 0.5 ** min(int(cycle), cycles - 1) * (1 - (1 - LOWEST) * stair)
    return rate * min(1.0, (step + 1) / (warmup + 1))
