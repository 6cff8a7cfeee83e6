"""Painted slides, shards cut from them and teachers whose answers differ from pixel to pixel, once for all tests here."""

import pytest

from tests.mlseg_dist.labelling.rounds import lively_run
from tests.mlseg_dist.tiny_run import TinyRun


@pytest.fixture(scope="package")
def run(tmp_path_factory) -> TinyRun:
    return lively_run(tmp_path_factory.mktemp("whole"))
