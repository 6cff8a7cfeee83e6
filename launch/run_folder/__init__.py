"""The run folder: where a campaign keeps its config, frozen code, phases, plans and outputs.

folder         its paths and small records; freezing the code        identity   the run's id, and whose its folder is
frozen_config  whether the frozen code of a run understands a config  own_files  which files in it are ours
aside          outputs that an edit made invalid
"""

from launch.run_folder.folder import PACKAGES, TASK_FILE, RunFolder, code_hash, find_run, package_folders, run_of_file

__all__ = ["PACKAGES", "TASK_FILE", "RunFolder", "code_hash", "find_run", "package_folders", "run_of_file"]
