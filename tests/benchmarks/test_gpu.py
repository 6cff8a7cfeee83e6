"""What `make gpu` runs, as far as it goes without a GPU."""

import os

import pytest
import torch

from benchmarks.gpu import __main__ as gpu


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
