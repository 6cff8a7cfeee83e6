"""What `make gpu` runs, as far as it goes without a GPU."""

import os
import subprocess
import sys

import pytest
import torch

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu.page import Rates, markdown, wait
from benchmarks.race import ROOT


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_one_line_and_status_2(tmp_path, capsys):
    assert gpu.main(["--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "no CUDA device" in said and said.count("\n") == 1
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("body", "status"), [("assert True", 0), ("assert False", 1), ("pytest.skip('no')", 1)])
def test_a_page_of_tests_says_whether_they_ran_and_passed(tmp_path, body, status):
    file = tmp_path / "test_one.py"
    file.write_text(f"import pytest\n\ndef test_one():\n    {body}\n")
    selection = ["-p", "no:cacheprovider", "-c", os.devnull, str(file)]
    assert gpu.run_tests(selection, tmp_path / "tests.md", "a device") == status
    page = (tmp_path / "tests.md").read_text()
    assert "on a device" in page and ("**passed**" if status == 0 else "**FAILED**") in page


def test_the_page_judges_both_goals():
    rows = {"fast": Rates(50, 400, 300, 99, 4.5), "slow": Rates(50, 150, 100, 80, 4.5)}
    page = markdown("python -m x", "cpu", 16, 4, 100.0, rows)
    assert "| fast | 400.0 | 300.0 | 50.0 | 99.0 | 4.00 | 1.0% | 4.5 |" in page
    assert page.count("missed by slow.") == 2 and "missed by fast" not in page
    assert wait(100, 80) == pytest.approx(0.2) and wait(100, 110) == 0


@pytest.mark.slow
def test_the_dali_benchmark_writes_its_page_on_cpu_operators(tmp_path):
    pytest.importorskip("nvidia.dali", reason="NVIDIA DALI is not installed (extra cuda12)")
    small = ["--device", "cpu", "--size", "128", "--batch", "2", "--encoder", "b0", "--seconds", "0", "--threads", "1"]
    command = [sys.executable, "-m", "benchmarks.gpu.input", *small, "--policies", "base", "master-1", "--out"]
    subprocess.run(
        [*command, str(tmp_path / "out.md")], cwd=ROOT, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    page = (tmp_path / "out.md").read_text()
    assert "| base | " in page and "| master-1 | " in page and "not of a GPU" in page
