"""constraints.txt, the page of licences and the container recipes say what is installed, and name nothing of one machine."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

from launch.preflight.versions import fits
from launch.version import DISTRIBUTION

ROOT = Path(__file__).parents[2]
RECIPES = [ROOT / "slurm" / "mlseg.def", ROOT / "slurm" / "Dockerfile"]


def pinned() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(
        re.fullmatch(r"[a-z0-9-]+==[A-Za-z0-9.]+", line) for line in lines
    )  # no address, no path, no local build
    return dict(line.split("==") for line in lines)


def tool() -> dict[str, object]:
    """The names of docs/dependencies.py, which is no module of a package."""
    names: dict[str, object] = {"__file__": str(ROOT / "docs" / "dependencies.py"), "__name__": "dependencies"}
    exec((ROOT / "docs" / "dependencies.py").read_text(), names)
    return names


def test_every_requirement_is_pinned_to_a_version_that_fits():
    versions, each = pinned(), tool()
    for requirements in each["project"]().values():
        for one in requirements:
            assert fits(one, versions[each["normal"](one.name)]), one
    assert versions["torch"] == "2.13.0"


@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11) or not importlib.metadata.version("torch").startswith("2.13.0"),
    reason="the files are of Python 3.11 and torch 2.13.0",
)
def test_both_files_are_what_the_installed_packages_say():
    """After a change of dependencies: .venv/bin/python docs/dependencies.py."""
    each = tool()
    assert (ROOT / "constraints.txt").read_text() == each["constraints"]()
    page = (ROOT / "docs" / "licences.md").read_text()
    assert page == each["licences"]()
    assert {name for name, _ in re.findall(r"^\| ([a-z0-9-]+) \| ([0-9].*?) \|", page, re.MULTILINE)} == set(pinned())


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_a_recipe_installs_the_wheel_with_the_constraints(recipe: Path, tmp_path: Path):
    """No image is built here: the shell lines parse, and pip is given the wheel itself, because an index may have another one."""
    text = recipe.read_text()
    file, extra = re.search(r'--constraint /constraints.txt "\$\(ls /wheels/(.+?)-\*\.whl\)\[(.+)\]"', text).groups()
    assert file == DISTRIBUTION.replace("-", "_") and extra == "cuda12"
    if recipe.suffix == ".def":
        sections = dict(re.findall(r"^%(\w+)\n((?:    .*\n)+)", text, re.MULTILINE))
        assert set(sections) == {"files", "post", "environment", "test", "runscript"}
        scripts = [body for name, body in sections.items() if name != "files"]
    else:
        scripts = re.findall(r"^RUN ((?:.*\\\n)*.*)$", text, re.MULTILINE)
        assert {line.split()[0] for line in text.replace("\\\n", "").splitlines() if re.match(r"[A-Z]+ ", line)} == {
            "FROM", "RUN", "COPY", "ENV", "ENTRYPOINT"
        }  # fmt: skip
    for script in scripts:
        (tmp_path / "script.sh").write_text(script)
        subprocess.run(["sh", "-n", tmp_path / "script.sh"], check=True)


def test_the_tool_says_nothing_of_this_machine():
    written = (ROOT / "constraints.txt").read_text() + (ROOT / "docs" / "licences.md").read_text()
    assert not re.search(r"https?://|file:|/(?:home|root|tmp|work|opt)/", written) and sys.prefix not in written
