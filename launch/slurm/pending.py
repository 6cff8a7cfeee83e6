"""Why SLURM has not started a job yet, in words."""

_WORDS = {
    "Priority": "jobs of higher priority come first",
    "Resources": "waits for free nodes",
    "Dependency": "waits for the phases before it",
    "DependencyNeverSatisfied": "a phase before it failed",
    "BeginTime": "starts later, as asked",
    "JobArrayTaskLimit": "waits for other workers of its array",
    "JobHeldUser": "held by its owner; release it: scontrol release",
    "JobHeldAdmin": "held by an administrator",
    "ReqNodeNotAvail": "a node that it asks for is down or reserved",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition takes no jobs now",
    "PartitionNodeLimit": "asks for more nodes than the partition allows",
    "PartitionTimeLimit": "its time limit is over the partition's",
    "Reservation": "waits for its reservation",
    "Licenses": "waits for a licence",
    "launch failed requeued held": "it could not be started and is held; release it: scontrol release",
    "BadConstraints": "no node has what it asks for",
    "None": "just submitted",
}


def in_words(reason: str) -> str:
    """squeue's reason as a person would say it; one that is not known as it is."""
    name = reason.strip("()").split(",")[0]
    if name in _WORDS:
        return _WORDS[name]
    if name.startswith("QOS"):
        return f"a limit of the QOS ({name})"
    if name.startswith("Assoc"):
        return f"a limit of the account ({name})"
    return reason
