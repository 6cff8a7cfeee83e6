"""Phantoms are drawn once for all tests of the audit."""

from pathlib import Path

import pytest

from mlseg_core.exactly_once.run import run_units
from shards import phantom
from tests.shards.audit.pictures import PHANTOMS


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Six stained phantoms, one slide each."""
    folder = tmp_path_factory.mktemp("phantoms")
    assert not run_units(phantom.units(PHANTOMS), phantom.draw, folder)
    return sorted(folder.glob("*.tif"))
