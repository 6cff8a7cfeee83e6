"""DALI's graph stays small: each node is a pass over a micro-batch's pixels. `python -m benchmarks.dali_nodes` has the table."""

import pytest

pytest.importorskip("nvidia.dali", reason="NVIDIA DALI is not installed (extra cuda12)")

from benchmarks.dali_nodes.row import kinds
from tests.mlseg_dist.augment import dali_parity as parity

MOST = {"base": 10, "master-1": 83, "master-2": 83, "master-3": 112, "master-4": 112, "master-5": 42}
"""Nodes of the graph for a GPU at the paper's sizes. Raise one only with the reason. Three of master-3's and master-4's are the
table, its bytes and the minimum that spare bright pixels (`dark` of targeted_hsv); all are bytes."""
MOST_ARITHMETIC = 12


@pytest.mark.parametrize("step", parity.STEPS)
def test_a_policys_graph_has_no_more_nodes_than_it_had(step):
    counted = kinds(parity.table_8(step), 512, 768, 0)
    assert counted.total() <= MOST[step], counted
    assert counted["ArithmeticGenericOp"] <= MOST_ARITHMETIC, counted
