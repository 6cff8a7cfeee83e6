"""Which pixels of a pair's views somebody excluded: a teacher labels none of them, in whatever patch they are seen.

Every pair carries its own in its label images, so a patch that only reaches into an excluded region says so too. Its JSON counts
them, so that label images are decoded only where there are any.
"""

import json
from collections.abc import Callable

import numpy as np

from shards.annotation import EXCLUDED_PX
from shards.sample import decode_label
from shards.tar import BadShard

_KEY = "excluded"


def excluded_facts(high_label: np.ndarray, low_label: np.ndarray) -> dict[str, dict[str, int]]:
    """For a pair's JSON: {"excluded": view -> px}, and nothing where there are none."""
    counts = {"high": int((high_label == EXCLUDED_PX).sum()), "low": int((low_label == EXCLUDED_PX).sum())}
    return {_KEY: counts} if any(counts.values()) else {}


def excluded_cells(pair_json: bytes, name: str, stride: int, read: Callable[[str], bytes]) -> dict[str, np.ndarray]:
    """View -> cells of stride x stride px of which any px is excluded, bool (S/stride, S/stride); no entry: none is.

    pair_json: the pair's member `json`.  name: the pair's, for errors.  read: gives another of its members. Raises BadShard.
    """
    if f'"{_KEY}"'.encode() not in pair_json:
        return {}
    found = {}
    try:
        for view, count in json.loads(pair_json)[_KEY].items():
            if count:
                excluded = decode_label(read(f"{view}.png")) == EXCLUDED_PX
                side = excluded.shape[0] // stride
                found[view] = excluded.reshape(side, stride, side, stride).any(axis=(1, 3))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadShard(f"{name}.json does not say what is excluded ({error!r})") from error
    return found
