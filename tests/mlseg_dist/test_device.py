"""Which GPU a process takes: a pure function of what SLURM, torchrun or a map of ours tells it, and of how many GPUs it sees."""

import pytest
import torch

from mlseg_core.errors import UserError
from mlseg_dist.device import check_own_gpus, device_for, gpu_index, settle_gpu

ALONE: dict[str, str] = {}


def node(ranks: int, **slurm: object) -> list[dict[str, str]]:
    """What each rank of a node finds in its environment."""
    said = {f"SLURM_{name.upper()}": str(value) for name, value in slurm.items()}
    return [{"LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(ranks), **said} for rank in range(ranks)]


@pytest.mark.parametrize(
    ("environments", "visible", "expected"),
    [
        pytest.param([ALONE], 0, [None], id="no GPU"),
        pytest.param([ALONE], 4, [0], id="one process started by hand"),
        pytest.param(node(4), 0, [None] * 4, id="ranks on CPUs"),
        pytest.param(node(4), 4, [0, 1, 2, 3], id="torchrun"),
        pytest.param(node(2), 4, [0, 1], id="fewer ranks than GPUs"),
        pytest.param(node(2), 2, [0, 1], id="CUDA_VISIBLE_DEVICES=2,3: numbers are among the visible ones"),
        pytest.param(node(4, gpus_on_node=4), 4, [0, 1, 2, 3], id="--gpus-per-node=4"),
        pytest.param(node(4, gpus_per_task=1, gpus_on_node=4), 1, [0, 0, 0, 0], id="--gpus-per-task=1"),
        pytest.param(node(4, gpus_per_task="h100:1"), 1, [0, 0, 0, 0], id="--gpus-per-task=h100:1"),
        pytest.param(node(2, gpus_per_task=2, gpus_on_node=4), 2, [0, 1], id="--gpus-per-task=2: one of its two"),
        pytest.param(
            node(4, gpus_per_task=1, gpus_on_node=4), 4, [0, 1, 2, 3], id="--gpus-per-task=1, --gpu-bind=none"
        ),
        pytest.param(node(2, tres_per_task="cpu=4,gres/gpu=1"), 1, [0, 0], id="--tres-per-task"),
        pytest.param(node(4, gpus_on_node=4, gpu_bind="single:1"), 1, [0, 0, 0, 0], id="--gpu-bind=single:1"),
        pytest.param(node(4, gpus_on_node=4, gpu_bind="closest"), 2, [0, 1, 0, 1], id="--gpu-bind=closest, 2 sockets"),
    ],
)
def test_every_rank_takes_a_gpu_of_its_own(environments, visible, expected) -> None:
    assert [gpu_index(environment, visible) for environment in environments] == expected


@pytest.mark.parametrize(
    ("environments", "visible"),
    [
        pytest.param(node(4), 2, id="torchrun"),
        pytest.param(node(4, gpus_on_node=2), 2, id="4 tasks, --gpus-per-node=2"),
        pytest.param(node(4, gpus_on_node=2, gpu_bind="single:2"), 1, id="--gpu-bind=single:2"),
        pytest.param(node(4, tres_per_task="cpu=4"), 3, id="a GPU of the node is gone"),
    ],
)
def test_more_ranks_than_gpus_are_refused_on_all_of_them(environments, visible) -> None:
    """Even those whose number is that of a GPU: nobody begins and waits for the others. A map's processes may share."""
    for environment in environments:
        with pytest.raises(UserError, match=rf"4 ranks of this node see {visible} GPUs?, .*tasks_per_node={visible}"):
            gpu_index(environment, visible)
    shared = [gpu_index(environment, visible, share=True) for environment in environments]
    assert shared == [rank % visible for rank in range(len(environments))]


def test_a_rank_beyond_the_gpus_is_refused_where_nobody_says_how_many_there_are() -> None:
    with pytest.raises(UserError, match="3 ranks of this node see 2 GPUs"):
        gpu_index({"LOCAL_RANK": "2"}, 2)


def test_two_ranks_on_one_gpu_are_named() -> None:
    own = [("n1", "GPU-a"), ("n1", "GPU-b"), ("n2", "GPU-a")]
    check_own_gpus(own)
    with pytest.raises(UserError, match=r"ranks 1 and 3 work on the same GPU of node n1 \(GPU-b\)"):
        check_own_gpus([*own, ("n1", "GPU-b")])


def test_without_a_gpu_it_is_the_cpu_and_nothing_is_set() -> None:
    before = torch.backends.cudnn.benchmark
    settle_gpu(torch.device("cpu"))
    assert torch.backends.cudnn.benchmark == before
    if not torch.cuda.is_available():
        assert device_for() == torch.device("cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: make gpu")
def test_a_gpu_becomes_the_current_one_and_cudnn_times_its_algorithms() -> None:
    last, before = torch.cuda.device_count() - 1, torch.backends.cudnn.benchmark
    try:
        settle_gpu(torch.device("cuda", last))
        assert torch.backends.cudnn.benchmark and torch.cuda.current_device() == last
        settle_gpu(torch.device("cuda", last), deterministic=True)
        assert not torch.backends.cudnn.benchmark
    finally:
        torch.backends.cudnn.benchmark = before
        torch.cuda.set_device(0)


@pytest.mark.parametrize("value", ["", " ", "x"])
def test_a_variable_that_is_no_number_counts_as_not_set(value):
    assert gpu_index({"LOCAL_RANK": value, "LOCAL_WORLD_SIZE": value}, 2) == 0
