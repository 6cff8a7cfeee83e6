"""Why SLURM refused a job, in the words that `sbatch` printed."""

_PREFIXES = ("sbatch: error: ", "Batch job submission failed: ", "allocation failure: ")


def refusal(printed: str) -> str:
    """The line of sbatch's output that says why, without the program's own prefixes: the first error, else the last line."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    said = next((line for line in lines if "error:" in line), lines[-1] if lines else "no reason given")
    for prefix in _PREFIXES:
        said = said.removeprefix(prefix)
    return said
