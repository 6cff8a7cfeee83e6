"""metrics.jsonl and the console line: nothing is lost on a full disk, nothing of a step that was taken back stays."""

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

from mlseg_dist.events import read_events
from mlseg_dist.training.log import console_line, cut_back
from tests.mlseg_dist.log_process import figures

ROOT = Path(__file__).parents[3]

FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from mlseg_core.logs import log_as_job
from mlseg_dist.events import Events
from mlseg_dist.training.log import MetricsFile

log_as_job(0)
phase = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
lines = MetricsFile(phase / "metrics.jsonl", Events(phase).log)
lines.write({"step": 1, "text": "x" * 100})
resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))  # no file grows beyond 200 bytes: the second line fits by half
for step in (2, 3, 4):
    lines.write({"step": step, "text": "x" * 100})
print((phase / "metrics.jsonl").read_text().count("\\n"), (phase / "metrics.jsonl").stat().st_size)
lines.cut_back(3)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
lines.write({"step": 5})
lines.close()
"""


def test_a_full_disk_keeps_lines_in_memory_and_tells_once(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    first, size = next(line for line in done.stdout.splitlines() if " rank 0 " not in line).split()
    assert first == "1" and int(size) == len(json.dumps({"step": 1, "text": "x" * 100})) + 1, "no torn line"
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 5]
    assert done.stderr.count("rank 0 WARNING metrics-failed") == 1 and "rank 0 INFO metrics-written" in done.stdout
    assert read_events(tmp_path)[-1]["event"] == "metrics-written"


def test_cutting_back_needs_no_room(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in range(100)) + '{"ste')
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        cut_back(path, 40)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == list(range(41))


def test_a_bad_line_within_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"st\n[]\n{"step": 2}\n{"step": 3}\n')
    cut_back(path, 2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_the_console_line_is_aligned():
    lines = [console_line(figures(step), 12000, left) for step, left in ((1, 86400.0 * 2), (11999, 3.0))]
    assert len({line.index("loss") for line in lines}) == len({line.index("eta") for line in lines}) == 1
    assert lines[0].startswith("step      1/12000  loss   1.0000 (wce  0.6000  wdl 0.4000)  lr 1.00e-03")
    assert lines[0].endswith("mfu 30.0 %  eta 48:00:00") and lines[1].endswith("eta 0:00:03")
    assert "loss        – (wce" in console_line({**figures(1), "loss": None})
    without = {name: value for name, value in figures(1).items() if name != "mfu"}
    assert "mfu" not in console_line(without) and "eta" not in console_line(without)
