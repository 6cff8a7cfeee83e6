"""A table without slides to learn from, an external cohort, can be cut and verified; a campaign refuses it before any work."""

import pytest

from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import run_units
from shards import cutting
from shards.verify.corpus import verify_corpus
from tests.shards.slides_for_tests import shards_config, write_corpus


def test_a_table_of_test_slides_alone(tmp_path):
    table = write_corpus(tmp_path / "slides", slides=2)
    table.write_text(table.read_text().replace(",train,", ",test,").replace(",val,", ",test,"))
    config, out = shards_config(), tmp_path / "out"
    plan = cutting.plan_cut(config, table, out, check=True)
    assert not cutting.check_slides(config, table, plan)
    assert not run_units(plan.units, cutting.cut, out, describe=cutting.describe)
    manifest = cutting.write_manifest(config, table, plan.units, out, plan.known)
    assert {shard.split for shard in manifest.shards} == {"test"} and manifest.totals["samples"] > 0
    assert not verify_corpus(out, 1).damage
    with pytest.raises(UserError, match="no slide of split train"):
        cutting.look_at_slides(table)
