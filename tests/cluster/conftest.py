"""A SLURM on this host for the whole session; skipped loudly without one, failed when MLSEG_REQUIRE_SLURM=1."""

import os
from pathlib import Path

import pytest

from tests.cluster import accounting, slurm_host
from tests.launch.conftest import tiny_campaign


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory):
    _need("SLURM", slurm_host.missing_programs(), "slurm-wlm")
    with slurm_host.SlurmHost(tmp_path_factory.mktemp("slurm")) as host:
        yield host


@pytest.fixture
def slurm_with_gpus(tmp_path: Path):
    """It counts a GPU on each node; there are none."""
    _need("SLURM", slurm_host.missing_programs(), "slurm-wlm")
    with slurm_host.SlurmHost(tmp_path / "slurm", gpus=1) as host:
        yield host


@pytest.fixture
def slurm_with_limits(tmp_path: Path):
    _need("SLURM", slurm_host.missing_programs(), "slurm-wlm")
    _need("slurmdbd", accounting.missing_programs(), "slurmdbd slurm-wlm-mysql-plugin mariadb-server")
    with accounting.slurm_with_accounts(tmp_path / "slurm") as host:
        yield host


def _need(what: str, missing: list[str], packages: str) -> None:
    if missing:
        said = f"no {what} on this machine ({', '.join(missing)} missing); Debian: apt-get install {packages}"
        if os.environ.get("MLSEG_REQUIRE_SLURM") == "1":
            pytest.fail(said)
        pytest.skip(said)


@pytest.fixture
def make_campaign(tmp_path: Path):
    """Writes a tiny campaign for SLURM: two workers, training on two nodes with one task each."""

    def make(**cluster: object) -> Path:
        settings = {"executor": "slurm", "default": {"workers": 2}, "train": {"nodes": 2}, **cluster}
        return tiny_campaign(tmp_path, cluster=settings)

    return make
