"""`mlseg predict --cluster`: queue what is not done yet, unless it is on its way already."""

from collections.abc import Sequence
from pathlib import Path

from launch.prediction.attend import attend, how_to_end
from launch.prediction.check import check_cluster
from launch.prediction.queue import Results, elements_for, queued, results, submit
from launch.prediction.request import folder_of, make_request, write_request
from launch.resources.blocks import ClusterConfig
from launch.run_folder.identity import ensure_id
from mlseg_core.exactly_once.run import Unit


def predict_on_slurm(units: Sequence[Unit], out: Path, cluster: ClusterConfig, wait: bool) -> Results | None:
    """Returns what came of the slides once no job is left; None where nobody waits for the jobs. Safe to call at any time.

    Raises UserError before anything is written where SLURM would refuse the jobs; see also attend.
    """
    run, request = folder_of(units, out), make_request(units, out, cluster)
    if jobs := queued(run, request).jobs:
        print(f"{len(jobs)} jobs for these slides are in the queue already; {how_to_end(run)}", flush=True)
    else:
        found = results(units, out)
        count = len(found.left) + len(found.failed)
        if not count:
            return found
        check_cluster(cluster, run, elements_for(request, count))
        run.path.mkdir(parents=True, exist_ok=True)
        run.freeze_code()
        ensure_id(run)
        write_request(run, request)
        if submit(run, request, count, "person"):
            print(f"queued {count} slides, {elements_for(request, count)} jobs; {how_to_end(run)}", flush=True)
        else:
            print("another start was first; its jobs count", flush=True)
    print(f"logs: {run.plans / 'logs'}", flush=True)
    return attend(run, request) if wait else None
