"""One look for figures, pictures and the page: the colours of classes, splits and steps, and matplotlib's settings."""

from typing import Any

INK, MUTED, LINE, PAPER = "#1c2330", "#667085", "#e3e6eb", "#ffffff"
GOOD, BAD = "#1a7f4b", "#b42318"
CLASS_COLOURS = {"background": "#9aa1ab", "tumour": "#d0323a", "others": "#2b6cb0"}
SPLIT_COLOURS = {"val": "#8a6fb8", "test": "#0e8a7d", "dev-unseen": "#d9822b", "final-unseen": "#a33b68"}
CONFIDENCE = ("#f7f4f0", "#fde3c8", "#fcb07e", "#ef6a4c", "#cc1f2d", "#7f0015")
"""Colours of probability 0 to 1: red is confident."""

MATPLOTLIB: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Inter", "Segoe UI", "Helvetica Neue", "Roboto", "Arial", "DejaVu Sans"],
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": "#b7bdc8",
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "figure.facecolor": PAPER,
    "svg.hashsalt": "mlseg",
    "svg.fonttype": "none",
}


def rgb(colour: str) -> tuple[int, int, int]:
    """`#rrggbb` as three numbers 0 to 255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
