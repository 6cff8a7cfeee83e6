"""What an offline run's file holds, by W&B's own reader (`wandb leet inspect --json`)."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

OWN = ("_step", "_runtime", "_timestamp", "_wandb")


def segments(phase: Path) -> list[Path]:
    """Run folders of the phase, oldest first."""
    return sorted((phase / "wandb").glob("offline-run-*"))


def records(phase: Path) -> list[dict[str, Any]]:
    """Of the one run folder that is there."""
    (folder,) = segments(phase)
    (file,) = folder.glob("*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def history(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows in order, W&B's own fields but the time stamp left out."""
    rows = [record["history"]["item"] for record in found if record["type"] == "history"]
    return [{k: v for k, v in row.items() if k not in OWN or k == "_timestamp"} for row in rows]


def alerts(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record["alert"] for record in found if record["type"] == "alert"]


def is_closed(found: list[dict[str, Any]]) -> bool:
    return found[-1]["type"] == "exit"


def without_media(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.startswith("examples")}


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures of the run's table, as they were set last."""
    figures: dict[str, Any] = {}
    for record in found:
        if record["type"] == "summary":
            figures |= record["summary"]["update"]
    return figures
