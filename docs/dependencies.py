"""Writes constraints.txt and docs/licences.md: what mlseg and its tests install, with versions and licences.

    .venv/bin/python docs/dependencies.py

In: pyproject.toml, and the packages of the environment that runs this (its CPU builds: PyPI's torch brings its own CUDA packages,
each at the version that torch names). `main` writes both; tests/core/test_dependencies.py checks them.
"""

import importlib.metadata
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
_LONGEST = 60
"""A longer licence field is the licence's text, not its name."""
_HEAD = """\
# Versions of all that mlseg and its tests install, as tested on Linux with Python 3.11 and a CPU: pip install -c constraints.txt …
# Written by docs/dependencies.py. PyTorch's CUDA packages are not listed: torch names the exact version of each.
"""
_PAGE = """\
# Licences of what mlseg installs

mlseg itself is under the [Apache License 2.0](../LICENSE). Written by `.venv/bin/python docs/dependencies.py` from the
packages' own metadata; versions are those of `constraints.txt`. A GPU machine also gets NVIDIA's CUDA libraries with
PyTorch, under NVIDIA's licences.
"""


def project() -> dict[str, list[Requirement]]:
    """Extra (`""`: always) -> its requirements, of those that can be installed without a GPU."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = {"": table["dependencies"], "test": table["optional-dependencies"]["test"]}
    return {extra: [Requirement(line) for line in each] for extra, each in lines.items()}


def closure(requirements: Iterable[Requirement]) -> dict[str, importlib.metadata.Distribution]:
    """Normal name -> distribution, of these and all that they need here. Raises PackageNotFoundError."""
    found: dict[str, importlib.metadata.Distribution] = {}
    seen: set[tuple[str, str]] = set()
    todo = list(requirements)
    while todo:
        one = todo.pop()
        name = normal(one.name)
        for extra in ("", *one.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            found[name] = found.get(name) or importlib.metadata.distribution(name)
            needs = [Requirement(line) for line in found[name].requires or []]
            todo += [need for need in needs if need.marker is None or need.marker.evaluate({"extra": extra})]
    return found


def normal(name: str) -> str:
    """A distribution's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licence(distribution: importlib.metadata.Distribution) -> str:
    """What the metadata calls it: an SPDX expression, a short licence field, or classifiers; `see its files` where none says."""
    head = distribution.metadata
    if expression := head.get("License-Expression"):
        return expression
    named = [line.rpartition(" :: ")[2] for line in head.get_all("Classifier") or [] if line.startswith("License ::")]
    written = (head.get("License") or "").strip()
    if written and written != "UNKNOWN" and "\n" not in written and len(written) <= _LONGEST:
        return written
    return ", ".join(name for name in named if name != "OSI Approved") or "see its files"


def constraints() -> str:
    """Text of constraints.txt. A local part of a version, such as +cpu, is left out."""
    found = closure(requirement for each in project().values() for requirement in each)
    return _HEAD + "".join(f"{name}=={found[name].version.partition('+')[0]}\n" for name in sorted(found))


def licences() -> str:
    """Text of docs/licences.md."""
    always = closure(project()[""])
    tests = {name: each for name, each in closure(project()["test"]).items() if name not in always}
    return _PAGE + "".join(
        f"\n## {title}\n\n| package | version | licence |\n|---|---|---|\n"
        + "".join(
            f"| {name} | {found[name].version.partition('+')[0]} | {licence(found[name])} |\n" for name in sorted(found)
        )
        for title, found in (("With mlseg", always), ("With the extra `test` only", tests))
    )


def main() -> None:
    """Write both files."""
    (ROOT / "constraints.txt").write_text(constraints())
    (ROOT / "docs" / "licences.md").write_text(licences())


if __name__ == "__main__":
    main()
