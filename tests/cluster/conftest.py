"""A SLURM on this host for the whole session; skipped loudly without one, failed when MLSEG_REQUIRE_SLURM=1."""

import os
from pathlib import Path

import pytest

from tests.cluster.slurm_host import SlurmHost, missing_programs
from tests.launch.conftest import tiny_campaign


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory):
    missing = missing_programs()
    if missing:
        said = f"no SLURM on this machine ({', '.join(missing)} missing); Debian: apt-get install slurm-wlm"
        if os.environ.get("MLSEG_REQUIRE_SLURM") == "1":
            pytest.fail(said)
        pytest.skip(said)
    with SlurmHost(tmp_path_factory.mktemp("slurm")) as host:
        yield host


@pytest.fixture
def make_campaign(tmp_path: Path):
    """Writes a tiny campaign for SLURM: two workers, training on two nodes with one task each."""

    def make(**cluster: object) -> Path:
        settings = {"executor": "slurm", "map": {"workers": 2}, "train": {"nodes": 2}, **cluster}
        return tiny_campaign(tmp_path, cluster=settings)

    return make
