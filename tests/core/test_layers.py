"""Dependencies point one way, and the lower layers do not load torch."""

import ast
import graphlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from launch.cli import COMMANDS

ROOT = Path(__file__).parents[2]
MAY_IMPORT = {
    "mlseg_core": {"mlseg_core"},
    "shards": {"mlseg_core", "shards"},
    "mlseg_dist": {"mlseg_core", "shards", "mlseg_dist"},
    "launch": {"mlseg_core", "shards", "mlseg_dist", "launch"},
}

EXTRAS = ("cuda12", "cuda13", "bundle", "umap")
NOT_HERE = {"umap": "umap-learn"}
"""Module -> distribution, of what may not be installed here."""

FLOORS_OF_LAUNCH = (
    ("paths", "resources", "version", "alerts.config"),
    ("config",),
    ("graph", "graph_picture", "private"),
    ("run_folder",),
    ("checks", "endings", "environment", "growth", "teachers", "working_folder"),
    ("phases",),
    ("completion", "estimate", "phase_progress", "phase_time", "rehearsal"),
    (
        "slurm.job_names",
        "slurm.job_plans",
        "slurm.nodes",
        "slurm.queue",
        "slurm.run_jobs",
        "slurm.silence",
        "local.console",
        "local.liveness",
        "local.record",
    ),
    ("guard", "planner", "outside", "alerts"),
    ("job",),
    ("slurm", "slurm_plan", "local"),
    ("status", "status_page"),
    ("campaign",),
    ("preflight", "sweep"),
    ("prediction",),
    ("commands", "plan_table"),
    ("cli",),
)
"""The rooms of launch, the lowest floor first: a module imports its own floor and those below. A name covers what is inside."""


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_import_downwards_only(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        assert imports(path) & set(MAY_IMPORT) <= MAY_IMPORT[package], path


def test_no_module_imports_one_that_imports_it():
    """Imports inside functions count too."""
    files = {name_of(path): path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py")}
    graph: dict[str, set[str]] = {name: set() for name in files}
    for name, path in files.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                found = (f"{node.module}.{alias.name}" for alias in node.names)
                graph[name] |= {module if module in files else node.module for module in found}
            elif isinstance(node, ast.Import):
                graph[name] |= {alias.name for alias in node.names}
    graphlib.TopologicalSorter({name: found & graph.keys() for name, found in graph.items()}).prepare()


def test_every_room_of_launch_has_a_floor_and_imports_downwards_only():
    for path in (ROOT / "launch").rglob("*.py"):
        names = [
            f"{node.module}.{alias.name}" if node.module == "launch" else node.module
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "launch"
            for alias in node.names
        ]
        if name_of(path) != "launch":
            assert all(floor_of(name) <= floor_of(name_of(path)) for name in names), path


def floor_of(module: str) -> int:
    """That of its longest name in FLOORS_OF_LAUNCH. Raises KeyError for a room that is on none."""
    floors = {name: number for number, names in enumerate(FLOORS_OF_LAUNCH) for name in names}
    parts = module.split(".")[1:]
    found = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return floors[next((name for name in found if name in floors), parts[0])]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_what_is_imported_is_declared():
    """What another package happens to bring may be gone with its next release."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = {
        normal(line) for line in (*project["dependencies"], *(line for extra in EXTRAS for line in extras[extra]))
    }
    distributions = importlib.metadata.packages_distributions()
    for path in (path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py")):
        for name in imports(path) - set(MAY_IMPORT) - sys.stdlib_module_names:
            assert declared & {normal(found) for found in distributions.get(name, [NOT_HERE.get(name, name)])}, (
                name,
                path,
            )


def normal(requirement: str) -> str:
    """The name alone."""
    return re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower().replace("_", "-").replace(".", "-")


@pytest.mark.parametrize(
    "modules",
    [
        ["shards.cutting", "shards.phantom", "shards.tiles", "launch.slurm.plan", "launch.estimate.costs"],
        sorted({f"launch.commands.{module}" for module, _ in COMMANDS.values()}),
    ],
    ids=["parts", "commands"],
)
def test_loads_no_torch(modules):
    code = f"import {', '.join(modules)}, sys; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
