"""What torch calls by another name in a release that this project supports: `torch>=2.11,<2.14`.

Each difference is found by looking for the newer name, never by a version number: a nightly or a site's own build has what it has.
"""

import inspect
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel


def no_buffer_broadcast() -> dict[str, Any]:
    """Arguments of DistributedDataParallel that keep it from sending buffers before every forward.

    `broadcast_buffers` was renamed after torch 2.11. Under the old name DDP leaves buffers alone when it is built, too; under the
    new one it still sends rank 0's once. All ranks build the same network, so both come to the same bits.
    """
    known = inspect.signature(DistributedDataParallel).parameters
    return {"forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False}


def all_gather_flat(out: torch.Tensor, part: torch.Tensor) -> None:
    """Write every rank's `part`, (n,), by rank into `out`, (ranks x n,). All ranks call."""
    gather = (
        getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
    )  # the old name warns where both exist
    gather(out, part)
