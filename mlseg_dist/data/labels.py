"""Sidecar labels: class and confidence of a pixel in one byte, and how they join human labels.

Byte = class * 21 + level, level = probability rounded down in steps of .05 (0 … 20); 255 = no prediction. Thresholds
in steps of .05 are therefore exact and are applied when labels are read.
"""

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from mlseg_dist.config import IGNORED

LEVELS = 21


def encode(probabilities: np.ndarray) -> np.ndarray:
    """Class probabilities float (C, H, W) -> uint8 (H, W)."""
    return encode_batch(torch.from_numpy(probabilities)[None], 1)[0].numpy()


def encode_batch(probabilities: torch.Tensor, stride: int) -> torch.Tensor:
    """Class probabilities float (B, C, H, W), averaged over stride x stride px -> uint8 (B, H/stride, W/stride), same device."""
    if stride > 1:
        probabilities = F.avg_pool2d(probabilities, stride)
    best, classes = probabilities.max(dim=1)
    level = torch.floor(best * (LEVELS - 1) + 1e-6)
    return (classes * LEVELS + level).to(torch.uint8)


def level_of(threshold: float) -> int:
    return round(threshold * (LEVELS - 1))


def decode(codes: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Accepted classes, uint8; 255 for what is not sure enough, and where nothing was predicted. table: Accepting.table(view)."""
    classes: np.ndarray = table[codes]
    return classes


def block_mode(codes: np.ndarray, block: int) -> np.ndarray:
    """Codes of block x block cells: the class where the whole block agrees, with its least level; mixed = 255."""
    height, width = codes.shape[0] // block, codes.shape[1] // block
    whole = codes[: height * block, : width * block].reshape(height, block, width, block)
    cells = whole.swapaxes(1, 2).reshape(height, width, block * block)
    classes = cells // LEVELS
    same = (classes == classes[..., :1]).all(axis=-1) & (cells != IGNORED).all(axis=-1)
    return np.where(same, cells.min(axis=-1), IGNORED).astype(np.uint8)


def low_from_high(
    high_codes: np.ndarray, low_codes: np.ndarray | None, ratio: int, high_table: np.ndarray
) -> np.ndarray:
    """Low codes: the centre from the high prediction by block mode, elsewhere the low head's or 255.

    Where both exist in the centre, an accepted high block beats low. Both maps have one shape and stride. high_table: what of the
    high view is accepted.
    """
    low = np.full_like(high_codes, IGNORED) if low_codes is None else low_codes.copy()
    block = block_mode(high_codes, ratio)
    top, left = (low.shape[0] - block.shape[0]) // 2, (low.shape[1] - block.shape[1]) // 2
    inner = low[top : top + block.shape[0], left : left + block.shape[1]]
    accepted = decode(block, high_table) != IGNORED
    inner[accepted] = block[accepted]
    if low_codes is None:
        inner[:] = block
    return low


def join(human: np.ndarray, codes: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Training classes, uint8: human pixels win; elsewhere what the teacher's round accepts; else 255.

    codes may be at 1/2 or 1/4 of the human label's resolution. table: see decode.
    """
    accepted = decode(codes, table)
    if accepted.shape != human.shape:
        accepted = cv2.resize(accepted, human.shape[::-1], interpolation=cv2.INTER_NEAREST)
    return np.where(human != IGNORED, human, accepted)
