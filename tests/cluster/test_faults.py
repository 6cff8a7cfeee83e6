"""Some faults on a real SLURM, those most likely to break something; `make cluster-chaos N=50` tries them all, at random."""

import json

import pytest

from tests.cluster.chaos import Chaos, Schedule

pytestmark = pytest.mark.cluster

IN_CI = (
    (("base", "stop a rank"), ("label-1", "kill before record"), ("master-1", "preempt")),
    (("base", "node lost"), ("label-1", "two workers on a shard"), ("master-1", "kill slurmctld at replan")),
)


@pytest.fixture(scope="module")
def chaos(slurm, tmp_path_factory) -> Chaos:
    return Chaos(slurm, tmp_path_factory.mktemp("chaos"), seed=1)


def test_the_undisturbed_campaign_learns_from_its_labels(chaos) -> None:
    facts = json.loads((chaos.reference.labels / "manifest.json").read_text())["facts"]
    assert sum(facts["accepted"].values()) > 0
    assert {name: (lost, doubled) for name, (_, lost, doubled) in chaos.reference.counts().items()} == {
        "labels-1": (0, 0)
    }


@pytest.mark.parametrize(
    "faults",
    [
        IN_CI[0],
        pytest.param(
            IN_CI[1],
            marks=pytest.mark.long(
                short="tests/cluster/test_faults.py::test_after_faults_a_campaign_ends_as_if_they_had_not_happened"
            ),
        ),
    ],
    ids=lambda faults: "+".join(fault for _, fault in faults),
)
def test_after_faults_a_campaign_ends_as_if_they_had_not_happened(chaos, faults) -> None:
    print(chaos.run(Schedule(IN_CI.index(faults), faults)))
