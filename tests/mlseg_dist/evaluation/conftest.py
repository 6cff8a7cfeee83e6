"""A run of painted slides whose teachers answer unlike things to unlike pixels, once for all tests here; a home of its own."""

import pytest

from tests.mlseg_dist.labelling.rounds import lively_run
from tests.mlseg_dist.tiny_run import TinyRun


@pytest.fixture(scope="package")
def run(tmp_path_factory) -> TinyRun:
    return lively_run(tmp_path_factory.mktemp("evaluation"))


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    """Where the ledger of final-unseen of this user lies."""
    folder = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder
