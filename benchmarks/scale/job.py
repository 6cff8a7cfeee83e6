"""One measurement, in a process of its own.

    python -m benchmarks.scale.job decide|plan|units|merge|believe RUN

Out, as the last line: JSON with seconds and CPU seconds of the part, its imports apart; peak_mib with them; what it found.
"""

import contextlib
import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common.processes import peak_mib


def main() -> int:
    """Do one part once."""
    begun = time.perf_counter()
    part, folder = _PARTS[sys.argv[1]](), Path(sys.argv[2])
    imports = {"imports_s": time.perf_counter() - begun, "imports_mib": peak_mib()}
    begun, begun_cpu = time.perf_counter(), time.process_time()
    found = part(folder)
    took = {"seconds": time.perf_counter() - begun, "cpu_s": time.process_time() - begun_cpu, "peak_mib": peak_mib()}
    print(json.dumps(imports | took | found))
    return 0


Part = Callable[[Path], dict[str, Any]]


def _decide() -> Part:
    """What master.sh and a re-planning job do but for asking SLURM: an empty queue stands in for its answer."""
    from launch.completion import survey
    from launch.graph import build_graph
    from launch.planner import missing_phases
    from launch.run_folder import find_run
    from launch.slurm.job_plans import read_plans

    def part(folder: Path) -> dict[str, Any]:
        run = find_run(folder)
        config = run.config()
        completions = survey(config, build_graph(config), run)
        statuses = {completion.phase.name: run.state(completion.phase).get("status", "") for completion in completions}
        missing = missing_phases(completions, read_plans(run), [], statuses)
        return {"missing": [item.phase.name for item in missing]}

    return part


def _plan() -> Part:
    """`mlseg plan RUN --json`."""
    from launch.cli import main as mlseg

    def part(folder: Path) -> dict[str, Any]:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            status = mlseg(["plan", str(folder), "--json"])
        phases = {phase["name"]: phase for phase in json.loads(said.getvalue())["phases"]}
        return {"status": status, "pairs": phases["shards"]["expected"]["work"]}

    return part


def _units() -> Part:
    """What a worker does before its first unit: the list of units from the corpus's manifest."""
    from benchmarks.scale.campaign import STEP
    from launch.run_folder import find_run
    from mlseg_dist import labelling

    def part(folder: Path) -> dict[str, Any]:
        return {"units": len(labelling.units(find_run(folder).config(), STEP, folder))}

    return part


def _merge() -> Part:
    """The merge of the round as its job does it."""
    from benchmarks.scale.campaign import ROUND, STEP
    from launch.run_folder import find_run
    from mlseg_dist import labelling
    from mlseg_dist.run_folder import labels_folder

    def part(folder: Path) -> dict[str, Any]:
        path = labelling.write_round(find_run(folder).config(), STEP, folder, labels_folder(folder, ROUND))
        return {"manifest_bytes": path.stat().st_size}

    return part


def _believe() -> Part:
    """What training asks of the round before its first step."""
    from benchmarks.scale.campaign import ROUND
    from launch.run_folder import find_run
    from mlseg_dist import labelling

    def part(folder: Path) -> dict[str, Any]:
        return {"samples": labelling.check_round(find_run(folder).config(), ROUND, folder).totals["samples"]}

    return part


_PARTS = {"decide": _decide, "plan": _plan, "units": _units, "merge": _merge, "believe": _believe}


if __name__ == "__main__":
    sys.exit(main())
