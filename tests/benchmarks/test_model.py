"""The model benchmark counts by its rule, and its rows run, on small networks."""

import re

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common.processes import RowFailed
from benchmarks.model.__main__ import main
from benchmarks.model.counting import Counter, Op, Roofs, loss_ops, optimizer_op
from benchmarks.model.networks import ROWS, Scale, fitting_side
from benchmarks.model.page import markdown
from benchmarks.model.race import Race, run_row
from benchmarks.model.roofs import conv_macs_s, copy_bytes_s, matmul_macs_s
from benchmarks.model.row import Job

TINY = Scale(encoder="b0", filters=2)


def counted(work, *names):
    with Counter() as counter:
        work()
    return [op for op in counter.ops if not names or op.name in names]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_convolution_by_hand(layout):
    """(2, 3, 8, 8) -> (2, 5, 4, 4): 4-byte numbers, 3x3 kernel."""
    conv = nn.Conv2d(3, 5, 3, stride=2, padding=1)
    x = torch.randn(2, 3, 8, 8).to(memory_format=layout).requires_grad_()
    macs, taken, weight, given = 2 * 5 * 16 * 27, 2 * 3 * 64 * 4, 5 * 27 * 4, 2 * 5 * 16 * 4
    bias = 5 * 4
    with torch.inference_mode():
        assert counted(lambda: conv(x)) == [Op("convolution", macs, taken + weight + bias + given)]
    found = counted(lambda: conv(x).backward(torch.ones(2, 5, 4, 4)), "convolution_backward, input")
    assert found == [Op("convolution_backward, input", macs, given + weight + taken)]
    found = counted(lambda: conv(x).backward(torch.ones(2, 5, 4, 4)), "convolution_backward, weight")
    assert found == [Op("convolution_backward, weight", macs, given + taken + weight + bias)]


def test_a_depthwise_convolution_backwards_costs_what_it_costs_forwards():
    """torch's own counter says 6 times as much here: it takes every channel with every other for the weight's gradient."""
    conv = nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False)
    found = counted(lambda: conv(torch.randn(1, 6, 8, 8, requires_grad=True)).sum().backward())
    assert [op.macs for op in found if op.macs] == [6 * 64 * 9] * 3


def test_a_transposed_convolution_by_hand():
    conv = nn.ConvTranspose2d(3, 5, 2, stride=2, bias=False)
    x = torch.randn(1, 3, 4, 4, requires_grad=True)
    assert [op.macs for op in counted(lambda: conv(x).sum().backward()) if op.macs] == [3 * 16 * 5 * 4] * 3


@pytest.mark.parametrize("training", [True, False])
def test_norm_and_activation_are_one_pass(training):
    layers = nn.Sequential(nn.BatchNorm2d(4), nn.SiLU()).train(training)
    x = torch.randn(2, 4, 8, 8, requires_grad=True)
    one = 4 * x.numel()
    seed = torch.ones_like(x)
    ops = [op for op in counted(lambda: layers(x).backward(seed)) if op.bytes > 16]  # without the count of batches
    assert ["backward" in op.name for op in ops] == [False, True] and all("batch_norm" in op.name for op in ops)
    vectors = [op.bytes - one * passes for op, passes in zip(ops, (2, 3), strict=True)]
    assert all(0 < extra <= 8 * 4 * 4 for extra in vectors)  # of one number a channel


def test_what_costs_nothing_and_what_only_writes():
    x = torch.randn(2, 4, 8, 8)
    one = 4 * x.numel()

    def free():
        y = x[:, 1:].permute(0, 2, 3, 1).detach().expand(2, 8, 8, 3)
        torch.relu(torch.sigmoid(y.bfloat16()))
        return torch.empty_like(y)

    assert counted(free) == []
    assert counted(lambda: torch.zeros_like(x)) == [Op("zeros_like", 0, one)]
    assert counted(lambda: torch.empty_like(x).copy_(x)) == [Op("copy_", 0, 2 * one)]
    assert counted(lambda: x * torch.ones(1, 4, 1, 1).expand(2, 4, 8, 8), "mul") == [Op("mul", 0, 2 * one + 16)]
    assert counted(lambda: torch.cat([x, x])) == [Op("cat", 0, 4 * one)]


def test_matrix_products_are_counted_as_torch_does():
    a, b = torch.randn(3, 4), torch.randn(4, 5)
    assert counted(lambda: a @ b) == [Op("mm", 60, 4 * (12 + 20 + 15))]


def test_the_roof_is_the_faster_of_products_and_convolutions():
    """A dense convolution must not do better than the roof says it can: products alone would let it."""
    device = torch.device("cpu")
    rates = {
        "matmul_s": matmul_macs_s(device, torch.float32, 256),
        "conv_s": conv_macs_s(device, torch.float32, 1, 64, 32),
    }
    assert all(1e8 < rate < 1e13 for rate in rates.values()) and 1e8 < copy_bytes_s(device, 8) < 1e13
    for high, low in (("matmul_s", "conv_s"), ("conv_s", "matmul_s")):
        race = Race(roofs=[{high: 3e9, low: 1e9, "bytes_s": 1e9}, {high: 2e9, low: 2e9, "bytes_s": 4e9}])
        assert race.best() == Roofs(3e9, 4e9)


def test_loss_and_optimizer_by_hand():
    logits = torch.randn(2, 3, 4, 4)
    assert [op.bytes for op in loss_ops([logits])] == [384 + 32, 384 + 32 + 384]
    assert optimizer_op([torch.zeros(10), torch.zeros(5, 2)]).bytes == 7 * 4 * 20


@pytest.mark.parametrize("row", ["ours-plain", "ours-light-4", "hooknet-same", "two-unets"])
def test_all_multiply_adds_of_a_network_are_found(row):
    model = ROWS[row].build(TINY).eval()
    views = torch.randn(2, 1, 3, 64, 64)
    with torch.inference_mode(), FlopCounterMode(display=False) as flops:
        model(*views)
    with torch.inference_mode():
        found = counted(lambda: model(*views))
    assert sum(op.macs for op in found) == flops.get_total_flops() // 2


def test_roofline_takes_the_larger_time_of_each_operator():
    ops = [Op("a", 100, 10), Op("b", 10, 100)]
    assert Roofs(macs_s=10, bytes_s=20).floors(ops) == {"arithmetic": 11.0, "traffic": 5.5, "roofline": 10 + 5}


def test_a_row_takes_the_nearest_size_below_that_fits():
    assert fitting_side(ROWS["hooknet-valid"].build(TINY), 512) == 508
    assert fitting_side(ROWS["hooknet-same"].build(TINY), 512) == 512
    with pytest.raises(ValueError, match="takes no views of 64 px"):
        fitting_side(ROWS["hooknet-valid"].build(TINY), 64)


@pytest.mark.parametrize("row", ["ours-light", "encoders"])
def test_a_row_runs_in_a_process_of_its_own(row):
    said = run_row(Job(row, 64, (1, 2), seconds=0.01, threads=1, scale=TINY))
    assert said["about"]["parameters"] == sum(p.numel() for p in ROWS[row].build(TINY).parameters())
    assert said["about"]["gmac"] > 0 and said["about"]["side"] == 64
    points = {(point["work"], point["batch"]): point for point in said["points"]}
    assert list(points) == [("label", 1), ("label", 2), ("train", 1), ("train", 2)]
    assert all(point["ms"] > 0 and point["repeats"] >= 2 and point["peak_mib"] > 50 for point in points.values())
    macs = {key: sum(op[0] for op in point["ops"]) for key, point in points.items()}
    assert macs["label", 1] == pytest.approx(said["about"]["gmac"] * 1e9) and macs["label", 2] == 2 * macs["label", 1]
    assert 2.8 * macs["label", 2] < macs["train", 2] <= 3 * macs["label", 2]


def test_a_compiled_row_runs():
    said = run_row(Job("hooknet-same", 32, (1,), compile=True, seconds=0.01, threads=1, scale=TINY))
    assert [(point["work"], point["ms"] > 0) for point in said["points"]] == [("label", True), ("train", True)]


def test_hooknet_trains_its_target_only():
    """The context decoder behind the hook, and its head, are not walked backwards."""
    said = run_row(Job("hooknet-same", 32, (2,), seconds=0.01, threads=1, scale=TINY))
    label, train = (sum(op[0] for op in point["ops"]) for point in said["points"])
    assert train < 2.7 * label


def test_a_row_that_fails_says_why():
    with pytest.raises(RowFailed, match="takes no views of 64 px"):
        run_row(Job("hooknet-valid", 64, (1,), threads=1, scale=TINY))


def test_the_whole_table_is_written(tmp_path, monkeypatch):
    """Two rounds, at a size that is too small for one of the rows."""
    some = ("ours-light", "hooknet-valid", "two-unets")
    monkeypatch.setattr("benchmarks.model.__main__.ROWS", {row: ROWS[row] for row in some})
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    out = tmp_path / "deep/model.md"
    arguments = ["--size", "64", "--batches", "1", "--minutes", "0", "--out", str(out)]
    assert main(arguments, scale=TINY, seconds=0.01) == 0
    page = out.read_text()
    assert "2 rounds" in page and "Left out: HookNet, valid convolutions" in page
    for title in (ROWS[row].title for row in some if row != "hooknet-valid"):
        lines = [line for line in page.splitlines() if line.startswith(f"| {title} |")]
        assert [line.count("|") for line in lines] == [6, 12, 12]
        assert all(re.search(r"\d%", line) for line in lines[1:])
    peers = [line.split("|")[3].strip() for line in page.splitlines() if line.startswith("| two plain")]
    assert peers[1:] == ["1.00", "1.00"]


def test_medians_of_rounds_and_ratios_of_medians():
    """By hand: 100, 300, 200 ms against 500, 400, 600 ms at batch 2."""
    race = Race(rounds=3)
    race.roofs = [
        {"matmul_s": 1e9, "conv_s": 1.5e9, "bytes_s": 1e9},
        {"matmul_s": 0.9e9, "conv_s": 2e9, "bytes_s": 1e9},
    ]
    about = {"parameters": 1e6, "gmac": 1.0, "side": 64, "output_side": 64}
    for row, times in {"ours-plain": (100, 300, 200), "two-unets": (500, 400, 600)}.items():
        for number, ms in enumerate(times):
            ops = [] if number else [[10**8, 10**8]]
            point = {"work": "label", "batch": 2, "ms": ms, "repeats": 3, "peak_mib": ms, "ops": ops}
            race.add(row, {"about": about, "points": [point]})
    jobs = {row: Job(row, 64, (2,)) for row in ("ours-plain", "two-unets")}
    page = markdown(race, jobs, ["about"])
    ours, peer = [line for line in page.splitlines() if line.endswith(("300 |", "600 |"))]
    # 10 pairs/s; 2.5 times; 10 x 64² px; 50 ms of arithmetic at the best roof, 100 ms of traffic
    assert ours == "| ours, plain decoder | 10.00 | 2.50 | 0.04 | 200.0 | 100–300 | 50.0 | 100.0 | 100.0 | 50% | 300 |"
    assert peer.split("|")[2:4] == [" 4.00 ", " 1.00 "]
