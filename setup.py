"""Puts what `mlseg init` lays out into the wheel, beside the packages; all else is said in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PARTS = ("configs", "slurm", "constraints.txt")


class BuildWithFiles(build_py):
    """Also copies PARTS to mlseg_files (launch/working_folder.py reads them); an editable install reads the source tree."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "mlseg_files"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for part in filter(Path.exists, map(Path, PARTS)):
            if part.is_dir():
                shutil.copytree(part, target / part, ignore=shutil.ignore_patterns("proof"))
            else:
                shutil.copy(part, target / part)


setup(cmdclass={"build_py": BuildWithFiles})
