"""The five stages that a GPU is first used for: all of them on a CPU, small; and what their runner does with parts that fail."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.common.processes import ROOT
from benchmarks.gpu.first.page import markdown
from benchmarks.gpu.first.parts import Part, Rows, Settings, Skipped, run_parts
from benchmarks.gpu.first.stages import STAGES


def stage(number: int, out: Path) -> dict[str, list[dict]]:
    """Part -> rows, of a stage that ended well."""
    command = [sys.executable, "-m", "benchmarks.gpu.first", "--stage", str(number), "--device", "cpu", "--tiny"]
    done = subprocess.run([*command, "--out", str(out)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads((out / f"stage-{number}.json").read_text())
    assert [part["part"] for part in said["parts"]] == [part.name for part in STAGES[number - 1].parts]
    assert {part["state"] for part in said["parts"]} <= {"done", "skipped"}
    page = (out / f"stage-{number}.md").read_text()
    assert all(f"## {part['part']}" in page for part in said["parts"]) and "not a measurement" in page
    return {part["part"]: part["rows"] for part in said["parts"]}


def test_stage_1_measures_networks_engines_and_a_profile(tmp_path):
    found = stage(1, tmp_path)
    assert {row["what"] for row in found["machine"]} >= {"torch", "deepspeed", "NVIDIA DALI"}
    assert {(row["decoder"], row["work"]) for row in found["eager"]} == {
        *(("light", "train"), ("light", "label"), ("plain", "train"), ("plain", "label"))
    }
    assert [row["loop"] for row in found["engines"]][-2:] == ["ours on DDP", "ours on DeepSpeed"]
    assert all(row["pairs/s"] > 0 for row in [*found["eager"], *found["compiled"]])
    assert (tmp_path / "stage-1" / "profile.json.gz").stat().st_size > 1000


def test_stage_2_is_stopped_resumed_and_labels(tmp_path):
    found = stage(2, tmp_path)
    seen = {row["what"]: json.loads(row["seen"]) for row in found["campaign"]}
    assert seen["SIGTERM"]["exit_status"] == 75
    assert seen["resumed"] == {"after_step": seen["SIGTERM"]["step"], "lines_kept": True}
    assert "label-1 is done" in seen and seen["the campaign has ended"] == {"exit_status": 0, "report": True}
    assert [row["same_bits"] for row in found["repeats"]] == [True, True]


def test_stage_3_trains_generators_averages_validates_and_explains_a_lack_of_memory(tmp_path):
    found = stage(3, tmp_path)
    assert found["average"][-1] == {"average of 0 and 1 is a half": True, "parameters are given back": True}
    assert all("does not fit" in row["said"] for row in found["memory"])
    assert found["validation"][0]["accuracy"] == found["validation"][1]["accuracy"]


def test_stage_4_compares_every_operation_with_the_cpu_executor(tmp_path):
    pytest.importorskip("nvidia.dali", reason="NVIDIA DALI is not installed (extra cuda12)")
    found = stage(4, tmp_path)
    assert len(found["operations"]) >= 20
    assert all(row["error"] == "" and row["mean difference"] < 1.5 for row in found["operations"])
    assert len(found["operators"]) >= 20
    assert all(row["works"] and row["largest_difference"] == 0 for row in found["operators"]), found["operators"]
    assert found["nvjpeg"][0]["largest"] == 0, "on a CPU both decode with libjpeg"


def test_stage_5_says_what_dali_and_the_cpu_make(tmp_path):
    pytest.importorskip("nvidia.dali", reason="NVIDIA DALI is not installed (extra cuda12)")
    (rows,) = stage(5, tmp_path).values()
    assert [row["made_by"] for row in rows] == ["lies on the device", "DALI", "CPU"]
    assert all(row["trained"] > 0 for row in rows)


def test_the_stages_fit_into_fifteen_minutes():
    assert sum(stage.limit_s for stage in STAGES) <= 770
    assert all(part.limit_s <= stage.limit_s for stage in STAGES for part in stage.parts)


# ---- the runner ------------------------------------------------------------------------------------------------------


def has_ended(pid: int) -> bool:
    """Gone, or a zombie that nobody has asked after."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def fine(settings: Settings, rows: Rows) -> None:
    rows.add(figure=1 / 3)


def breaks(settings: Settings, rows: Rows) -> None:
    rows.add(figure=1)
    raise ValueError("it broke\nbadly")


def hangs(settings: Settings, rows: Rows) -> None:
    rows.add(figure=2)
    child = subprocess.Popen(["sleep", "600"])
    (settings.scratch / "pid").write_text(str(child.pid))
    time.sleep(600)


def is_killed(settings: Settings, rows: Rows) -> None:
    rows.add(figure=3)
    os.kill(os.getpid(), signal.SIGKILL)


def cannot(settings: Settings, rows: Rows) -> None:
    raise Skipped("there is no device")


def test_a_part_that_fails_hangs_or_dies_keeps_its_rows_and_stops_no_other(tmp_path):
    settings = Settings("cpu", False, tmp_path, tmp_path)
    parts = [Part(f.__name__, "", 2.0, f) for f in (breaks, hangs, is_killed, cannot, fine)]
    found = {result.part: result for result in run_parts(parts, tmp_path / "stage", settings, 60.0)}
    assert (found["breaks"].state, found["breaks"].why) == ("failed", "ValueError: it broke")
    assert (found["hangs"].state, found["hangs"].rows) == ("timed out", [{"figure": 2}])
    assert 2 <= found["hangs"].seconds < 10
    assert (found["is_killed"].state, found["is_killed"].why) == ("failed", "ended by SIGKILL")
    assert (found["cannot"].state, found["cannot"].why) == ("skipped", "there is no device")
    assert (found["fine"].state, found["fine"].rows) == ("done", [{"figure": 0.33333}])
    assert found["breaks"].rows == [{"figure": 1}] and found["is_killed"].rows == [{"figure": 3}]
    assert has_ended(int((tmp_path / "pid").read_text())), "what a part has started ends with it"
    page = markdown("Title", "command", "a machine", list(found.values()))
    assert "| [hangs](#hangs) | **timed out**: after 2 s |" in page


def test_a_stage_ends_in_its_time(tmp_path):
    settings = Settings("cpu", False, tmp_path, tmp_path)
    parts = [Part("hangs", "", 60.0, hangs), Part("fine", "", 60.0, fine)]
    begun = time.monotonic()
    first, second = run_parts(parts, tmp_path / "stage", settings, 2.0)
    assert (first.state, second.state) == ("timed out", "no time left") and time.monotonic() - begun < 15


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_part_stays_behind_however_the_stage_is_ended(tmp_path, number):
    """The real command, in the middle of a campaign of four processes and more."""
    words = ["--stage", "2", "--parts", "campaign", "--device", "cpu", "--tiny", "--out", str(tmp_path)]
    command = [sys.executable, "-m", "benchmarks.gpu.first", *words]
    process = subprocess.Popen(command, cwd=ROOT, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    log = tmp_path / "stage-2" / "first.log"
    started: list[psutil.Process] = []
    end = time.monotonic() + 90
    while not (log.exists() and "running here" in log.read_text()) and time.monotonic() < end:
        time.sleep(0.1)
    time.sleep(1)
    started = psutil.Process(process.pid).children(recursive=True)
    assert len(started) >= 2, "the part and its campaign"
    process.send_signal(number)
    assert process.wait(30) == (130 if number != signal.SIGKILL else -9)
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not [each for each in alive if each.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--parts", "nonsense"], "stage 1 has no part 'nonsense': there are machine, roofs"),
        (["--out", "FILE"], "File exists"),
        (["--out", "FILE/below"], "Not a directory"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(tmp_path, words, said):
    (tmp_path / "file").touch()
    words = [word.replace("FILE", str(tmp_path / "file")) for word in words]
    command = [
        sys.executable,
        "-m",
        "benchmarks.gpu.first",
        "--stage",
        "1",
        "--device",
        "cpu",
        "--out",
        str(tmp_path / "out"),
    ]
    done = subprocess.run([*command, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and said in done.stderr


def test_without_a_device_one_line_and_status_2(tmp_path):
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "benchmarks.gpu.first", "--stage", "1", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "no CUDA device" in done.stderr
    assert not (tmp_path / "out").exists()
