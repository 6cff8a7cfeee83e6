"""A small sound corpus, and copies of it to damage."""

import shutil
from pathlib import Path

import pytest

from mlseg_core.exactly_once.run import map_in_processes
from shards import cutting
from tests.shards.slides_for_tests import shards_config, write_corpus

CONFIG = shards_config(tissue_stride_um=192.0, samples_per_shard=15)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    table = write_corpus(folder / "slides")
    todo = cutting.units(CONFIG, table)
    map_in_processes(todo, cutting.cut, folder / "shards", 1, describe=cutting.describe)
    cutting.write_manifest(CONFIG, table, todo, folder / "shards")
    return folder / "shards"


@pytest.fixture
def corpus(sound, tmp_path):
    """A copy to damage."""
    return Path(shutil.copytree(sound, tmp_path / "shards"))
