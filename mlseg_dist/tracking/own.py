"""Which files W&B writes into the folder of a run that we log: what a person puts there beside them is not ours to delete."""

import re

_OWN = re.compile(
    r"run-[^/]+\.wandb(?:\.synced)?"
    r"|logs/(?:debug(?:-internal|-core)?\.log)?"
    r"|files/(?:config\.yaml|wandb-summary\.json|wandb-metadata\.json|requirements\.txt|output\.log)?"
    r"|files/media/(?:images/)?(?:mask/)?(?:[^/]+_\d+_[0-9a-f]{20}(?:\.mask)?\.(?:png|json))?"
    r"|files/media/(?:images|table|html)/(?:[^/]+/)*(?:[^/]+_\d+_[0-9a-f]{20}\.(?:png|jpe?g|table\.json|html))?"
    r"|tmp/(?:code/)?"
)


LINKS = ("logs/debug-core.log",)
"""Symbolic links in a run's folder; this one leads to a log of all runs of a user."""


def is_of_wandb(name: str) -> bool:
    """name: relative to the run's folder; of an empty folder with `/` at its end (own.walk_files)."""
    return _OWN.fullmatch(name) is not None
