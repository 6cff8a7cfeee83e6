#!/bin/bash
#SBATCH --job-name=mlseg-master
#SBATCH --time=00:30:00
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --output=mlseg-master-%j.log
#
# Start or continue a campaign:   bash slurm/master.sh [CONFIG] [--cluster MYSITE] [key.path=value …]   on a login node, or
#                                 sbatch slurm/master.sh …   the same from a job.
# It plans, submits every phase with its dependencies, and leaves in seconds; run it again at any time. Jobs get what the campaign's
# `cluster` says. This job itself knows nothing of that: where SLURM wants a partition or an account, name them to sbatch
# (`sbatch -p small -A lab slurm/master.sh …`), or let `bash slurm/master.sh CONFIG --as-job` submit it as `cluster.small` says.
# Without SLURM, `bash slurm/master.sh` runs the same phases on this machine.
set -euo pipefail

config=""
words=()
while [[ $# -gt 0 ]]; do # the config is the first word that is no option, no option's value and no key.path=value
    if [[ $1 == --cluster ]]; then
        words+=("$1" "${@:2:1}")
        shift
    elif [[ -z $config && $1 != *=* && $1 != -* ]]; then
        config=$1
    else
        words+=("$1")
    fi
    shift || break
done
if [[ -f $config ]]; then # it may be relative to where we were called; a link to a file elsewhere stays a link
    config=$(cd -- "$(dirname -- "$config")" && pwd)/$(basename -- "$config")
fi

# SLURM runs a copy of this file from its spool: the project is where sbatch was called, or the folder above the file that it was
# given, or, without SLURM, above this one.
given=""
if [[ -n ${SLURM_JOB_ID:-} ]]; then
    given=$(scontrol show job "$SLURM_JOB_ID" 2>/dev/null | sed -n 's|^ *Command=\(/.*\)/slurm/master\.sh\( .*\)\{0,1\}$|\1|p')
fi
for project in "${SLURM_SUBMIT_DIR:-}" "$given" "$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"; do
    [[ -n $project && -f $project/slurm/master.sh ]] && [[ -f $project/pyproject.toml || -f $project/mlseg.json ]] && break
    project=""
done
if [[ -z $project ]]; then
    echo "master.sh: error: call sbatch from the project's folder (the one that holds slurm/master.sh)" >&2
    exit 2
fi
cd "$project"

if [[ -f .venv/bin/activate ]]; then
    source .venv/bin/activate
fi
if ! command -v mlseg >/dev/null; then
    echo "master.sh: error: mlseg is not on the PATH; activate its environment, or run: make install" >&2
    exit 2
fi

exec mlseg run "${config:-configs/paper.yaml}" ${words[@]+"${words[@]}"}
