"""Whether a site's SLURM would take the jobs of `mlseg predict --cluster`, asked before anything is written or queued."""

from launch.preflight.asking import Asking, where
from launch.resources.blocks import Block, ClusterConfig, JobConfig
from launch.run_folder import RunFolder
from mlseg_core.errors import UserError

BLOCKS: tuple[Block, ...] = ("predict", "small")


def check_cluster(cluster: ClusterConfig, run: RunFolder, elements: int) -> None:
    """run: where the jobs would lie; it need not exist. elements: of the array.

    Raises UserError for the first thing that is wrong.
    """

    def write_script(job: JobConfig) -> str:
        from launch.slurm.submit import script  # loads submitit

        return script(run, "check", "predict-work", job)

    asking = Asking(write_script)
    for name in BLOCKS:
        problem, key, _ = asking.block(cluster, name)
        if problem is not None:
            raise UserError(problem.what, key, problem.fix)
    if elements >= asking.most:
        what = f"{elements} workers, but MaxArraySize is {asking.most}"
        key = where(cluster, "predict", "workers", elements)
        raise UserError(what, key, f"Set it to at most {asking.most - 1}.")
