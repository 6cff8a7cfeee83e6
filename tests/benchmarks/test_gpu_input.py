"""The benchmark of the DALI executor judges its goals and runs on DALI's CPU operators."""

import os
import subprocess
import sys

import pytest

from benchmarks.common.processes import ROOT
from benchmarks.gpu.input.page import Rates, markdown, wait


def test_the_page_judges_both_goals():
    rows = {"fast": Rates(50, 400, 300, 99, 4.5), "slow": Rates(50, 150, 100, 80, 4.5)}
    page = markdown("python -m x", "cpu", 16, 4, 100.0, rows)
    assert "| fast | 400.0 | 300.0 | 50.0 | 99.0 | 4.00 | 1.0% | 4.5 |" in page
    assert page.count("missed by slow.") == 2 and "missed by fast" not in page
    assert wait(100, 80) == pytest.approx(0.2) and wait(100, 110) == 0


def test_the_dali_benchmark_writes_its_page_on_cpu_operators(tmp_path):
    pytest.importorskip("nvidia.dali", reason="NVIDIA DALI is not installed (extra cuda12)")
    small = ["--device", "cpu", "--size", "128", "--batch", "2", "--encoder", "b0", "--seconds", "0", "--threads", "1"]
    command = [sys.executable, "-m", "benchmarks.gpu.input", *small, "--policies", "base", "master-1", "--out"]
    subprocess.run(
        [*command, str(tmp_path / "out.md")], cwd=ROOT, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    page = (tmp_path / "out.md").read_text()
    assert "| base | " in page and "| master-1 | " in page and "not of a GPU" in page
