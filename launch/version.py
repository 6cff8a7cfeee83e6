"""Which mlseg this is: `mlseg --version`.

A run's frozen code says the version that it was copied from; a source tree, what its pyproject.toml says; else the installed
distribution, whose name is not `mlseg`: on PyPI that name belongs to somebody else.
"""

import argparse
import importlib.metadata
import json
import tomllib
from pathlib import Path
from typing import Any

DISTRIBUTION = "mlseg-tissue"
"""What pip knows the project by; the command is `mlseg`."""
HOME = Path(__file__).parents[1]
"""The folder that the packages lie in: a source tree, site-packages, or a run's frozen code."""


def version() -> str:
    """Such as `0.1.0`; `unknown` for code that lies alone."""
    if (frozen := HOME / "frozen.json").is_file():
        return str(json.loads(frozen.read_text()).get("version", "unknown"))
    if project := source_project():
        return str(project["version"])
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def source_project() -> dict[str, Any]:
    """The `project` table of the pyproject.toml that the packages lie beside; {} where they were installed from a wheel."""
    path = HOME / "pyproject.toml"
    project = tomllib.loads(path.read_text()).get("project", {}) if path.is_file() else {}
    return project if project.get("name") == DISTRIBUTION else {}


class ShowVersion(argparse.Action):
    """--version, looked up only when it is asked for."""

    def __init__(self, option_strings: list[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="show the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        where = f" (frozen in {HOME.parent})" if (HOME / "frozen.json").is_file() else ""
        print(f"mlseg {version()}{where}")
        parser.exit()
