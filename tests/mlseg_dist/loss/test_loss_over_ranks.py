"""With `group: step` the compiler's graph goes through the sums over ranks: one graph, the same loss, the same gradient.

`python -m torch.distributed.run ... -m tests.mlseg_dist.loss.test_loss_over_ranks FOLDER` is one rank.
"""

import subprocess
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from mlseg_dist.config import LossConfig
from mlseg_dist.loss import SegmentationLoss

ROOT = Path(__file__).parents[3]


def main() -> None:
    dist.init_process_group("gloo")
    random = torch.Generator().manual_seed(dist.get_rank())
    logits = {head: torch.randn(2, 3, 16, 16, generator=random) for head in ("merged", "high", "low")}
    targets = {view: torch.randint(0, 4, (2, 16, 16), generator=random, dtype=torch.uint8) for view in ("high", "low")}
    found = {}
    for group in ("step", "micro-batch"):
        loss = SegmentationLoss(LossConfig(group=group), "dynamic")
        # aot_eager: forward and backward are traced, as for inductor, but nothing is generated from them
        for name, form in (("plain", loss), ("compiled", torch.compile(loss, fullgraph=True, backend="aot_eager"))):
            leaves = {head: x.clone().requires_grad_() for head, x in logits.items()}
            total, _ = form(leaves, targets)
            total.backward()
            found[f"{group} {name}"] = [total.detach(), *(x.grad for x in leaves.values())]
    torch.save(found, Path(sys.argv[1]) / f"{dist.get_rank()}.pt")
    dist.barrier()
    dist.destroy_process_group()


def test_a_loss_over_the_step_is_one_graph_for_the_compiler(tmp_path):
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*start, "-m", "tests.mlseg_dist.loss.test_loss_over_ranks", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    for report in (first, second):
        for plain, compiled in zip(report["step plain"], report["step compiled"], strict=True):
            torch.testing.assert_close(compiled, plain, rtol=1e-5, atol=1e-7)
        assert any(plain.abs().max() > 1e-4 for plain in report["step plain"][1:])
    assert torch.equal(first["step compiled"][0], second["step compiled"][0])  # the ranks did sum
    assert not torch.equal(first["micro-batch compiled"][0], second["micro-batch compiled"][0])


if __name__ == "__main__":
    main()
