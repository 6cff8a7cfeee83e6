"""What a network costs: counted against hand-worked figures, and shown by `mlseg model`."""

import json

import pytest
import torch
from torch import nn

from launch.cli import main
from mlseg_dist.config import EncoderConfig, ModelConfig
from mlseg_dist.model import build_model
from mlseg_dist.model.summary import summarise


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, high, low):
        return {"high": self.last(self.first(high))}


def test_counts_of_a_network_that_can_be_worked_out_by_hand():
    summary = summarise(Tiny, 16, bf16=True, device=None)
    first, last = summary.parts
    assert (first.parameters, last.parameters) == (3 * 8 * 9 + 16, 8 * 2 + 2)
    assert first.gmac == pytest.approx(16 * 16 * 3 * 8 * 9 / 1e9) and last.gmac == pytest.approx(16 * 16 * 16 / 1e9)
    assert first.activation_bytes == 2 * (2 * 8 * 256) and last.activation_bytes == 2 * 2 * 256
    assert summary.json()["parameters"] == first.parameters + last.parameters and summary.json()["ms"] is None


def test_parts_add_up_and_are_timed():
    config = ModelConfig(encoder=EncoderConfig(name="custom", width=0.2, depth=0.2))
    summary = summarise(lambda: build_model(config, 4), 64, bf16=False, device=torch.device("cpu"))
    assert summary.total("parameters") == sum(p.numel() for p in build_model(config, 4).parameters())
    assert all(part.ms is not None and part.ms > 0 for part in summary.parts)
    assert {"low_encoder", "high_decoder", "merge", "merged_head"} <= {part.name for part in summary.parts}


def test_the_command_tells_the_papers_network(capsys):
    assert main(["model", "configs/paper.yaml", "--no-time", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["step"] == "master-5" and found["kind"] == "munet" and found["patch_px"] == 512
    # "only 25 million trainable parameters"; of convolutions, without the loss and without upsampling
    assert (found["parameters"], round(found["gmac"], 1)) == (24_037_689, 31.2)
    assert sum(part["gmac"] for part in found["parts"]) == pytest.approx(found["gmac"]) and found["gmac"] > 5
    assert main(["model", "configs/paper.yaml", "--no-time", "--step", "base"]) == 0
    assert "unet, encoder B0" in capsys.readouterr().out


def test_the_papers_network_and_ours_side_by_side_in_80_columns(capsys, monkeypatch):
    """An override holds for both, and may stand anywhere behind the first config."""
    monkeypatch.setenv("COLUMNS", "80")
    words = ["model", "configs/paper.yaml", "train.precision=fp32", "configs/recommended.yaml", "--no-time"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80 and shown.count("float32") == 2
    first, second = shown.splitlines()[-2:]
    assert first.split()[:4] == ["all", "paper", "24,037,689", "31.24"]
    assert second.split()[:3] == ["recommended", "23,574,105", "17.81"]
    assert "merge compress at 16, plain decoder" in shown and "merge both at 16, light decoder" in shown
    assert main([*words, "--json", "--step", "base"]) == 0
    paper, ours = json.loads(capsys.readouterr().out)
    assert (paper["config"], ours["config"]) == ("configs/paper.yaml", "configs/recommended.yaml")
    assert paper["kind"] == ours["kind"] == "unet" and paper["gmac"] > 2 * ours["gmac"]


def test_networks_of_other_kinds_are_compared_part_by_part(capsys):
    """HookNet's parts are none of the m-UNet's; two configs of one name are told apart by their paths."""
    ours = ["configs/recommended.yaml", "configs/../configs/recommended.yaml"]
    assert main(["model", *ours, "--no-time", "--step", "base"]) == 0
    shown = capsys.readouterr().out
    assert all(f"{path}: base, unet, encoder B0, high view" in shown for path in ours)
    assert main(["model", ours[0], "configs/none.yaml", "--no-time"]) == 2
    assert "configs/none.yaml: no such config file" in capsys.readouterr().err


def test_mistakes_are_one_line(capsys):
    assert main(["model", "configs/paper.yaml", "--step", "master-9"]) == 2
    assert "There are: base, master-1" in capsys.readouterr().err
    assert main(["model", "configs/paper.yaml", "train.patch_px=500", "--no-time"]) == 2
    said = capsys.readouterr().err
    assert "train.patch_px" in said and "480 or 512" in said and said.count("\n") == 1
    assert main(["model", "configs/paper.yaml", "shards.low_mpp=16", "--no-time"]) == 2
    assert "ratio of 32" in capsys.readouterr().err
